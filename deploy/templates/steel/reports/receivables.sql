SELECT c.company,
       c.account_code,
       count(*) AS invoices,
       coalesce(sum(i.open) FILTER (WHERE i.days <= 0), 0) AS not_due,
       coalesce(sum(i.open) FILTER (WHERE i.days BETWEEN 1 AND 30), 0) AS days_30,
       coalesce(sum(i.open) FILTER (WHERE i.days BETWEEN 31 AND 60), 0) AS days_60,
       coalesce(sum(i.open) FILTER (WHERE i.days > 60), 0) AS older,
       sum(i.open) AS open
FROM (
    SELECT customer_id, :as_of - due_on AS days,
           gross_amount - CASE WHEN paid_on <= :as_of THEN paid_amount ELSE 0 END AS open
    FROM invoices
    WHERE invoiced_on <= :as_of
) AS i
JOIN customers c ON c.id = i.customer_id
WHERE i.open > 0
  AND (coalesce(current_setting('app.current_customer', true), '') IN ('', c.id::text))
GROUP BY c.id, c.company, c.account_code
ORDER BY sum(i.open) DESC, c.account_code
LIMIT :top
