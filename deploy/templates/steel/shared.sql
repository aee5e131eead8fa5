-- The tables that tenants of shared isolation have in common.
--
-- Run: once per database, in a transaction, by the schema's owner, with search_path = that schema (normally shared),
--   then reference.
-- Needs: reference.sql, and USAGE and REFERENCES on what it made.
-- Row-level security is on and forced, with no policy: nobody sees a row until the provisioner adds, for each tenant's
--   role, policies bound to that role. app.current_tenant only fills tenant_id in; it opens nothing.
-- Keys are random uuids: a sequence would be common to all tenants and tell each how many rows the others make.

CREATE TABLE customers (
    tenant_id uuid NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), '')::uuid,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    account_code text NOT NULL CHECK (account_code <> ''),
    company text NOT NULL,
    contact_name text NOT NULL,
    email text NOT NULL CHECK (email LIKE '%_@_%'),
    phone text,
    street text NOT NULL,
    postcode text NOT NULL,
    city text NOT NULL,
    country char(2) NOT NULL,
    payment_days integer NOT NULL CHECK (payment_days BETWEEN 0 AND 120),
    credit_limit numeric(12, 2) NOT NULL CHECK (credit_limit >= 0),
    created_on date NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, account_code)
);
COMMENT ON TABLE customers IS 'Who buys; personal data is in contact_name, email and phone';
CREATE INDEX customers_tenant_id_idx ON customers (tenant_id);
CREATE INDEX customers_email_idx ON customers (tenant_id, email);
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE customers FORCE ROW LEVEL SECURITY;

CREATE TABLE inventory (
    tenant_id uuid NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), '')::uuid,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    lot_number text NOT NULL,
    heat_number text NOT NULL,
    grade_code text NOT NULL REFERENCES reference.grades (code),
    form text NOT NULL CHECK (form IN ('coil', 'sheet', 'bar')),
    thickness_mm numeric(7, 2) NOT NULL CHECK (thickness_mm > 0),
    width_mm numeric(7, 1) CHECK (width_mm > 0),
    length_mm numeric(10, 1) NOT NULL CHECK (length_mm > 0),
    pieces integer NOT NULL CHECK (pieces > 0),
    weight_kg numeric(12, 3) NOT NULL CHECK (weight_kg > 0),
    location text NOT NULL,
    received_on date NOT NULL,
    CHECK ((form = 'bar') = (width_mm IS NULL)),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, lot_number)
);
COMMENT ON TABLE inventory IS 'One lot on stock: a coil, or a bundle of equal sheets or bars from one heat';
CREATE INDEX inventory_tenant_id_idx ON inventory (tenant_id);
CREATE INDEX inventory_grade_code_idx ON inventory (tenant_id, grade_code);
CREATE INDEX inventory_heat_number_idx ON inventory (tenant_id, heat_number);
ALTER TABLE inventory ENABLE ROW LEVEL SECURITY;
ALTER TABLE inventory FORCE ROW LEVEL SECURITY;

CREATE TABLE orders (
    tenant_id uuid NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), '')::uuid,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    order_number text NOT NULL,
    customer_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('confirmed', 'shipped', 'cancelled')),
    ordered_on date NOT NULL,
    promised_on date NOT NULL,
    currency char(3) NOT NULL DEFAULT 'EUR',
    net_total numeric(14, 2) NOT NULL DEFAULT 0 CHECK (net_total >= 0),
    CHECK (promised_on >= ordered_on),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, order_number),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id)
);
COMMENT ON TABLE orders IS 'What a customer ordered; net_total is the sum of its lines';
CREATE INDEX orders_tenant_id_idx ON orders (tenant_id);
CREATE INDEX orders_customer_id_idx ON orders (tenant_id, customer_id);
CREATE INDEX orders_ordered_on_idx ON orders (tenant_id, ordered_on);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders FORCE ROW LEVEL SECURITY;

CREATE TABLE order_lines (
    tenant_id uuid NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), '')::uuid,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    order_id uuid NOT NULL,
    line_number integer NOT NULL CHECK (line_number > 0),
    grade_code text NOT NULL REFERENCES reference.grades (code),
    form text NOT NULL CHECK (form IN ('coil', 'sheet', 'bar')),
    thickness_mm numeric(7, 2) NOT NULL CHECK (thickness_mm > 0),
    width_mm numeric(7, 1) CHECK (width_mm > 0),
    length_mm numeric(10, 1) NOT NULL CHECK (length_mm > 0),
    quantity numeric(12, 3) NOT NULL CHECK (quantity > 0),
    unit_code text NOT NULL REFERENCES reference.units (code),
    weight_kg numeric(12, 3) NOT NULL CHECK (weight_kg > 0),
    price_per_t numeric(10, 2) NOT NULL CHECK (price_per_t > 0),
    net_amount numeric(14, 2) NOT NULL,
    CHECK (net_amount = round(weight_kg * price_per_t / 1000, 2)),
    CHECK ((form = 'bar') = (width_mm IS NULL)),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, order_id, line_number),
    FOREIGN KEY (tenant_id, order_id) REFERENCES orders (tenant_id, id)
);
COMMENT ON TABLE order_lines IS 'A line of an order; the amount is weight times the price per tonne';
CREATE INDEX order_lines_tenant_id_idx ON order_lines (tenant_id);
CREATE INDEX order_lines_grade_code_idx ON order_lines (tenant_id, grade_code);
ALTER TABLE order_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE order_lines FORCE ROW LEVEL SECURITY;

CREATE TABLE shipments (
    tenant_id uuid NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), '')::uuid,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    shipment_number text NOT NULL,
    order_id uuid NOT NULL,
    carrier_code text NOT NULL REFERENCES reference.carriers (code),
    shipped_on date NOT NULL,
    delivered_on date CHECK (delivered_on >= shipped_on),
    weight_kg numeric(12, 3) NOT NULL CHECK (weight_kg > 0),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, shipment_number),
    FOREIGN KEY (tenant_id, order_id) REFERENCES orders (tenant_id, id)
);
COMMENT ON TABLE shipments IS 'An order on its way; on time when delivered_on is not after the order''s promised_on';
CREATE INDEX shipments_tenant_id_idx ON shipments (tenant_id);
CREATE INDEX shipments_order_id_idx ON shipments (tenant_id, order_id);
CREATE INDEX shipments_carrier_code_idx ON shipments (tenant_id, carrier_code);
ALTER TABLE shipments ENABLE ROW LEVEL SECURITY;
ALTER TABLE shipments FORCE ROW LEVEL SECURITY;

CREATE TABLE invoices (
    tenant_id uuid NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), '')::uuid,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    invoice_number text NOT NULL,
    shipment_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    invoiced_on date NOT NULL,
    due_on date NOT NULL CHECK (due_on >= invoiced_on),
    net_amount numeric(14, 2) NOT NULL CHECK (net_amount > 0),
    tax_amount numeric(14, 2) NOT NULL CHECK (tax_amount >= 0),
    gross_amount numeric(14, 2) NOT NULL CHECK (gross_amount = net_amount + tax_amount),
    paid_amount numeric(14, 2) NOT NULL DEFAULT 0 CHECK (paid_amount BETWEEN 0 AND gross_amount),
    paid_on date,
    CHECK ((paid_amount > 0) = (paid_on IS NOT NULL)),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, invoice_number),
    FOREIGN KEY (tenant_id, shipment_id) REFERENCES shipments (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id)
);
COMMENT ON TABLE invoices IS 'What a shipment is billed at, and what of it has been paid';
CREATE INDEX invoices_tenant_id_idx ON invoices (tenant_id);
CREATE INDEX invoices_shipment_id_idx ON invoices (tenant_id, shipment_id);
CREATE INDEX invoices_customer_id_idx ON invoices (tenant_id, customer_id);
CREATE INDEX invoices_due_on_idx ON invoices (tenant_id, due_on);
ALTER TABLE invoices ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoices FORCE ROW LEVEL SECURITY;
