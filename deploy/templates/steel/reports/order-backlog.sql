SELECT o.order_number,
       c.company,
       o.ordered_on,
       o.promised_on,
       greatest(:as_of - o.promised_on, 0) AS days_late,
       w.kg / 1000 AS tonnes,
       o.net_total AS net,
       date_trunc('week', o.promised_on::timestamp)::date AS week,
       CASE WHEN o.promised_on < :as_of THEN o.net_total END AS late,
       CASE WHEN o.promised_on >= :as_of THEN o.net_total END AS due
FROM orders o
JOIN customers c ON c.id = o.customer_id
CROSS JOIN LATERAL (SELECT sum(l.weight_kg) AS kg FROM order_lines l WHERE l.order_id = o.id) AS w
WHERE o.status = 'confirmed' AND o.ordered_on <= :as_of AND o.net_total >= :minimum
  AND (coalesce(current_setting('app.current_customer', true), '') IN ('', o.customer_id::text))
ORDER BY o.promised_on, o.order_number
