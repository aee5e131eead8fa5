-- Fills one tenant with realistic data, in either table shape (rows find each other by natural keys).
--
-- Run: once, in a transaction, as the tenant's own login, on empty tables, with its search_path; in shared isolation
--   with app.current_tenant set to the tenant's id, which becomes every row's tenant_id.
-- Settings: demo.seed (bigint, 1), demo.marker (text, DEMO: each account_code starts with it),
--   demo.customers (400), demo.orders_per_customer (8), demo.lots (2000), demo.today (date, 2026-11-01).
-- The same settings make the same rows, but for uuid keys: choices are hashes of the seed and a row's number.

WITH s AS (
    SELECT coalesce(nullif(current_setting('demo.seed', true), ''), '1')::bigint AS seed,
           coalesce(nullif(current_setting('demo.marker', true), ''), 'DEMO') AS marker,
           coalesce(nullif(current_setting('demo.customers', true), ''), '400')::int AS customers,
           coalesce(nullif(current_setting('demo.today', true), ''), '2026-11-01')::date AS today
), parts AS (
    SELECT ARRAY['Adler', 'Baltic', 'Brenner', 'Castor', 'Delta', 'Elbe', 'Fjord', 'Granit', 'Hansa', 'Iskra', 'Jura',
                 'Kestrel', 'Lumen', 'Meridian', 'Nordkap', 'Orion', 'Prisma', 'Rhein', 'Sigma', 'Tatra'] AS head,
           ARRAY['Maschinenbau', 'Fabrication', 'Metallbau', 'Automotive', 'Steelworks', 'Constructions', 'Industrie',
                 'Engineering', 'Stanztechnik', 'Shipyard'] AS trade,
           ARRAY['Anna', 'Bruno', 'Clara', 'David', 'Elena', 'Felix', 'Greta', 'Hugo', 'Ines', 'Jan', 'Katja', 'Luca',
                 'Marta', 'Nils', 'Olga', 'Pavel'] AS given,
           ARRAY['Bauer', 'Conti', 'Dubois', 'Eriksen', 'Fischer', 'Garcia', 'Horvath', 'Ivanov', 'Jansen', 'Kowalski',
                 'Lindgren', 'Moreau', 'Novak', 'Olsen', 'Petit', 'Rossi'] AS family
), places (p, city, country, postcode, suffix, street, dial) AS (
    VALUES (0, 'Duisburg', 'DE', '47051', 'GmbH', 'Hafenstraße', '+49 203'),
           (1, 'Hamburg', 'DE', '20457', 'GmbH', 'Industriestraße', '+49 40'),
           (2, 'Stuttgart', 'DE', '70173', 'AG', 'Werkstraße', '+49 711'),
           (3, 'Linz', 'AT', '4020', 'GmbH', 'Industriezeile', '+43 732'),
           (4, 'Lyon', 'FR', '69007', 'SAS', 'Rue de Gerland', '+33 4'),
           (5, 'Brescia', 'IT', '25121', 'S.r.l.', 'Via Milano', '+39 030'),
           (6, 'Bilbao', 'ES', '48009', 'S.L.', 'Gran Vía', '+34 94'),
           (7, 'Rotterdam', 'NL', '3011 AA', 'B.V.', 'Havenweg', '+31 10'),
           (8, 'Katowice', 'PL', '40-001', 'Sp. z o.o.', 'ul. Hutnicza', '+48 32'),
           (9, 'Ostrava', 'CZ', '702 00', 's.r.o.', 'Průmyslová', '+420 59')
), drawn AS (
    SELECT n, s.*,
           head[1 + (hashtextextended('head' || n, seed) & 1048575) % 20] AS head,
           trade[1 + (hashtextextended('trade' || n, seed) & 1048575) % 10] AS trade,
           given[1 + (hashtextextended('given' || n, seed) & 1048575) % 16] AS given,
           family[1 + (hashtextextended('family' || n, seed) & 1048575) % 16] AS family,
           (hashtextextended('place' || n, seed) & 1048575) % 10 AS place,
           hashtextextended('rest' || n, seed) & 1048575 AS h
    FROM s, parts, generate_series(1, s.customers) AS n
)
INSERT INTO customers (account_code, company, contact_name, email, phone, street, postcode, city, country,
                       payment_days, credit_limit, created_on)
SELECT marker || '-' || lpad(n::text, 5, '0'), head || ' ' || trade || ' ' || city || ' ' || suffix,
       given || ' ' || family, lower(given || '.' || family) || '.' || n || '@example.com',
       dial || ' ' || 100000 + h % 900000, street || ' ' || 1 + h % 180, postcode, city, country,
       (ARRAY[14, 30, 30, 45, 60])[1 + h % 5], 10000 * (1 + h % 50), today - (731 + h % 2500)::int
FROM drawn JOIN places ON p = place ORDER BY n;

-- Skewed towards the first customers, as in life: few buy much.
WITH s AS (
    SELECT coalesce(nullif(current_setting('demo.seed', true), ''), '1')::bigint AS seed,
           coalesce(nullif(current_setting('demo.marker', true), ''), 'DEMO') AS marker,
           coalesce(nullif(current_setting('demo.customers', true), ''), '400')::int AS customers,
           coalesce(nullif(current_setting('demo.orders_per_customer', true), ''), '8')::int AS each,
           coalesce(nullif(current_setting('demo.today', true), ''), '2026-11-01')::date AS today
), drawn AS (
    SELECT n, marker,
           1 + floor(customers * power((hashtextextended('buyer' || n, seed) & 1048575) / 1048576.0, 1.6))::int
               AS buyer,
           (today - interval '24 months')::date
               + (hashtextextended('day' || n, seed) & 1048575)::int
               % (today - (today - interval '24 months')::date)
               AS ordered_on,
           (hashtextextended('order' || n, seed) & 1048575)::int AS h
    FROM s, generate_series(1, customers * each) AS n
)
INSERT INTO orders (order_number, customer_id, status, ordered_on, promised_on)
SELECT 'SO-' || lpad(n::text, 6, '0'), c.id, CASE WHEN h % 50 = 0 THEN 'cancelled' ELSE 'confirmed' END,
       ordered_on, ordered_on + 5 + h % 21
FROM drawn JOIN customers c ON c.account_code = marker || '-' || lpad(buyer::text, 5, '0') ORDER BY n;

-- What is on stock and what is ordered come from one range of products. A bar's thickness is its diameter.
WITH s AS (
    SELECT coalesce(nullif(current_setting('demo.seed', true), ''), '1')::bigint AS seed,
           coalesce(nullif(current_setting('demo.lots', true), ''), '2000')::int AS lots,
           coalesce(nullif(current_setting('demo.today', true), ''), '2026-11-01')::date AS today
), range (p, code, form, thickness, width, length, price) AS (
    VALUES (0, 'DC01', 'coil', 1.0, 1250, NULL, 740), (1, 'DC04', 'coil', 0.8, 1500, NULL, 775),
           (2, 'DX51D+Z', 'coil', 1.5, 1250, NULL, 810), (3, 'DD11', 'coil', 3.0, 1500, NULL, 660),
           (4, 'S420MC', 'coil', 4.0, 1500, NULL, 760), (5, '304', 'coil', 1.5, 1250, NULL, 2650),
           (6, 'S235JR', 'sheet', 5.0, 1500, 3000, 720), (7, 'S355J2', 'sheet', 12.0, 2000, 6000, 790),
           (8, 'S355J2', 'sheet', 20.0, 2500, 6000, 810), (9, 'S700MC', 'sheet', 6.0, 1500, 3000, 1020),
           (10, '304', 'sheet', 2.0, 1250, 2500, 2780), (11, '316L', 'sheet', 3.0, 1500, 3000, 4150),
           (12, '430', 'sheet', 1.0, 1250, 2500, 1950), (13, 'C45', 'bar', 50.0, NULL, 6000, 980),
           (14, '42CrMo4', 'bar', 80.0, NULL, 6000, 1340), (15, 'S235JR', 'bar', 20.0, NULL, 6000, 760)
), products AS (
    SELECT r.*, r.thickness * r.width * density_kg_m3 / 1e9 AS kg_per_mm,
           CASE form WHEN 'sheet' THEN thickness * width * length * density_kg_m3 / 1e9
                     WHEN 'bar' THEN round((pi() / 4)::numeric, 6) * thickness * thickness * length
                                     * density_kg_m3 / 1e9
           END AS kg_each
    FROM range r JOIN reference.grades USING (code)
), stock AS (
    INSERT INTO inventory (lot_number, heat_number, grade_code, form, thickness_mm, width_mm, length_mm, pieces,
                           weight_kg, location, received_on)
    SELECT 'L' || lpad(n::text, 6, '0'),
           'H' || 100000 + (hashtextextended('heat' || code || n / 40, seed) & 1048575) % 900000,
           code, form, thickness, width, coalesce(length, round(kg / kg_per_mm, 1)), pieces,
           coalesce(round(pieces * kg_each, 3), kg),
           'H' || 1 + h % 4 || '-' || chr((65 + h / 4 % 8)::int) || lpad((1 + h / 32 % 40)::text, 2, '0'),
           today - (h % 240)::int
    FROM s, generate_series(1, s.lots) AS n,
         LATERAL (SELECT hashtextextended('lot' || n, seed) & 1048575 AS h) AS a,
         LATERAL (SELECT 5000 + h % 20000 AS kg) AS b,
         products,
         LATERAL (SELECT CASE form WHEN 'coil' THEN 1 ELSE 2 + h % 40 END AS pieces) AS d
    WHERE p = (hashtextextended('lot.product' || n, seed) & 1048575) % 16
    ORDER BY n
)
INSERT INTO order_lines (order_id, line_number, grade_code, form, thickness_mm, width_mm, length_mm, quantity,
                         unit_code, weight_kg, price_per_t, net_amount)
SELECT o.id, line, code, form, thickness, width, coalesce(length, round(kg / kg_per_mm, 1)),
       CASE form WHEN 'coil' THEN kg ELSE pieces END, CASE form WHEN 'coil' THEN 'kg' ELSE 'pcs' END,
       kg, per_t, round(kg * per_t / 1000, 2)
FROM s, orders o,
     LATERAL generate_series(1, 1 + (hashtextextended('lines' || order_number, seed) & 1048575) % 5) AS line,
     LATERAL (SELECT hashtextextended('line' || order_number || '.' || line, seed) & 1048575 AS h) AS a,
     products,
     LATERAL (SELECT 1 + h % 15 AS pieces) AS b,
     LATERAL (SELECT coalesce(round(pieces * kg_each, 3), 500 + h % 80 * 50) AS kg,
                     round(price * (90 + h % 21) / 100, 2) AS per_t) AS d
WHERE p = (hashtextextended('line.product' || order_number || '.' || line, seed) & 1048575) % 16
ORDER BY order_number, line;

-- 92 of 100 arrive by the promised day.
WITH s AS (
    SELECT coalesce(nullif(current_setting('demo.seed', true), ''), '1')::bigint AS seed,
           coalesce(nullif(current_setting('demo.today', true), ''), '2026-11-01')::date AS today
), sums AS (
    SELECT order_id, sum(weight_kg) AS kg FROM order_lines GROUP BY order_id
), sent AS (
    SELECT o.id, order_number, kg, h, today,
           CASE WHEN late THEN promised_on + h % 9 ELSE promised_on - 2 - h % 3 END AS shipped_on
    FROM s, orders o JOIN sums ON order_id = o.id,
         LATERAL (SELECT (hashtextextended('ship' || order_number, seed) & 1048575)::int AS h,
                         (hashtextextended('late' || order_number, seed) & 1048575) % 100 >= 92 AS late) AS a
    WHERE status <> 'cancelled'
)
INSERT INTO shipments (shipment_number, order_id, carrier_code, shipped_on, delivered_on, weight_kg)
SELECT 'SH-' || substr(order_number, 4), id, codes[1 + h % array_length(codes, 1)], shipped_on,
       CASE WHEN shipped_on + 1 + h % 2 <= today THEN shipped_on + 1 + h % 2 END, kg
FROM sent, (SELECT array_agg(code ORDER BY code COLLATE "C") AS codes FROM reference.carriers) AS carriers
WHERE shipped_on <= today ORDER BY order_number;

UPDATE orders o
SET net_total = (SELECT sum(net_amount) FROM order_lines WHERE order_id = o.id),
    status = CASE WHEN EXISTS (SELECT FROM shipments WHERE order_id = o.id) THEN 'shipped' ELSE o.status END;

-- 19 % tax at home, none on deliveries to other countries. Most pay around the due date, some late, some in part,
-- a few never: open invoices of every age.
WITH s AS (
    SELECT coalesce(nullif(current_setting('demo.seed', true), ''), '1')::bigint AS seed,
           coalesce(nullif(current_setting('demo.today', true), ''), '2026-11-01')::date AS today
), billed AS (
    SELECT h.id AS shipment_id, shipment_number, c.id AS customer_id, shipped_on, shipped_on + payment_days AS due_on,
           net_total AS net, CASE country WHEN 'DE' THEN round(net_total * 0.19, 2) ELSE 0 END AS tax, today,
           (hashtextextended('pay' || order_number, seed) & 1048575)::int % 100 AS habit,
           (hashtextextended('paid' || order_number, seed) & 1048575)::int AS r
    FROM s, shipments h JOIN orders o ON o.id = h.order_id JOIN customers c ON c.id = o.customer_id
), settled AS (
    SELECT *, CASE WHEN habit < 85 THEN due_on - 5 + r % 20 WHEN habit < 98 THEN due_on + 15 + r % 75 END AS pays_on,
           CASE WHEN habit >= 95 THEN 0.5 ELSE 1 END AS share
    FROM billed
)
INSERT INTO invoices (invoice_number, shipment_id, customer_id, invoiced_on, due_on, net_amount, tax_amount,
                      gross_amount, paid_amount, paid_on)
SELECT 'IN-' || substr(shipment_number, 4), shipment_id, customer_id, shipped_on, due_on, net, tax, net + tax,
       CASE WHEN pays_on <= today THEN round((net + tax) * share, 2) ELSE 0 END,
       CASE WHEN pays_on <= today THEN greatest(pays_on, shipped_on) END
FROM settled ORDER BY shipment_number;
