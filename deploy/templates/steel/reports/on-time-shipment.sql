-- Shipments that are under way count once they are delivered.
SELECT date_trunc('month', s.delivered_on::timestamp)::date AS month,
       count(*) AS shipments,
       count(*) FILTER (WHERE s.delivered_on <= o.promised_on) AS on_time,
       count(*) FILTER (WHERE s.delivered_on > o.promised_on) AS late,
       round(count(*) FILTER (WHERE s.delivered_on <= o.promised_on) / count(*)::numeric, 4) AS share,
       round(avg(s.delivered_on - s.shipped_on), 2) AS days
FROM shipments s
JOIN orders o ON o.id = s.order_id
WHERE s.delivered_on <= :until
  AND s.delivered_on >= date_trunc('month', :until::timestamp) - (:months - 1) * interval '1 month'
  AND (:carriers IS NULL OR s.carrier_code = ANY (:carriers))
  AND (coalesce(current_setting('app.current_customer', true), '') IN ('', o.customer_id::text))
GROUP BY 1
ORDER BY 1
