-- Every month of the period has a row, also one without orders.
WITH months AS (
    SELECT m::date AS month
    FROM generate_series(date_trunc('month', :until::timestamp) - (:months - 1) * interval '1 month',
                         date_trunc('month', :until::timestamp), interval '1 month') AS m
), lines AS (
    SELECT date_trunc('month', o.ordered_on)::date AS month, o.id AS order_id, o.customer_id, l.weight_kg, l.net_amount, l.form
    FROM orders o
    JOIN order_lines l ON l.order_id = o.id
    WHERE o.status <> 'cancelled' AND o.ordered_on <= :until
      AND o.ordered_on >= date_trunc('month', :until::timestamp) - (:months - 1) * interval '1 month'
      AND (coalesce(current_setting('app.current_customer', true), '') IN ('', o.customer_id::text))
)
SELECT m.month,
       count(DISTINCT l.order_id) AS orders,
       count(DISTINCT l.customer_id) AS customers,
       coalesce(sum(l.weight_kg), 0) / 1000 AS tonnes,
       coalesce(sum(l.net_amount) FILTER (WHERE l.form <> 'bar'), 0) AS flat,
       coalesce(sum(l.net_amount) FILTER (WHERE l.form = 'bar'), 0) AS long,
       coalesce(sum(l.net_amount), 0) AS net,
       round(1000 * sum(l.net_amount) / nullif(sum(l.weight_kg), 0), 2) AS per_tonne
FROM months m
LEFT JOIN lines l USING (month)
GROUP BY m.month
ORDER BY m.month
