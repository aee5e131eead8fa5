SELECT i.grade_code AS grade,
       g.family,
       count(*) AS lots,
       coalesce(sum(i.weight_kg) FILTER (WHERE age.days <= 30), 0) / 1000 AS days_30,
       coalesce(sum(i.weight_kg) FILTER (WHERE age.days BETWEEN 31 AND 90), 0) / 1000 AS days_90,
       coalesce(sum(i.weight_kg) FILTER (WHERE age.days BETWEEN 91 AND 180), 0) / 1000 AS days_180,
       coalesce(sum(i.weight_kg) FILTER (WHERE age.days > 180), 0) / 1000 AS older,
       sum(i.weight_kg) / 1000 AS tonnes,
       round(sum(age.days * i.weight_kg) / sum(i.weight_kg)) AS average_days
FROM inventory i
JOIN reference.grades g ON g.code = i.grade_code
CROSS JOIN LATERAL (SELECT :as_of - i.received_on AS days) AS age
WHERE i.received_on <= :as_of
  AND (:form IS NULL OR i.form = :form)
  -- A location is a hall: H1 of H1-A07.
  AND (coalesce(current_setting('app.current_locations', true), '') = ''
       OR split_part(i.location, '-', 1) = ANY (nullif(current_setting('app.current_locations', true), '')::text[]))
GROUP BY i.grade_code, g.family
ORDER BY sum(i.weight_kg) DESC, i.grade_code
