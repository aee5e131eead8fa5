-- Cron expressions, in the database: its time zone data decides, so every language and every worker means the same moment.

-- What a cron expression says, as sorted lists. Days and weekdays: when both are restricted, either suffices (POSIX crontab).
CREATE TYPE reeve.cron AS (
  seconds int[], minutes int[], hours int[], days int[], months int[], weekdays int[],
  any_day boolean, any_weekday boolean, every_hour boolean);

-- The numbers that one field names: *, ?, a, a-b, */n, a-b/n, a/n (from a to the end), names where there are any, lists of them.
CREATE FUNCTION reeve.cron_field(p_text text, p_what text, p_low int, p_high int, p_names text[]) RETURNS int[]
LANGUAGE plpgsql IMMUTABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_part text; v_match text[]; v_from int; v_to int; v_step int; v_all int[] := '{}';
BEGIN
  FOREACH v_part IN ARRAY string_to_array(upper(p_text), ',') LOOP
    v_match := regexp_match(v_part, '^(?:([*?])|([0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?)(?:/([0-9]{1,2}))?$');
    IF v_match IS NULL THEN
      RAISE EXCEPTION 'the field % of a cron expression is not understood: "%"', p_what, left(p_text, 80) USING ERRCODE = 'RV010',
        HINT = 'Numbers, ranges (1-5), steps (*/15, 8-18/2), lists (1,15) and * are.';
    END IF;
    BEGIN
      v_from := CASE WHEN v_match[1] IS NOT NULL THEN p_low ELSE coalesce(p_low + array_position(p_names, v_match[2]) - 1, v_match[2]::int) END;
      v_to := CASE WHEN v_match[1] IS NOT NULL THEN p_high WHEN v_match[3] IS NOT NULL THEN coalesce(p_low + array_position(p_names, v_match[3]) - 1, v_match[3]::int)
                   WHEN v_match[4] IS NOT NULL THEN p_high ELSE v_from END;
    EXCEPTION WHEN invalid_text_representation THEN
      RAISE EXCEPTION 'the field % of a cron expression names what is not known: "%"', p_what, left(p_text, 80) USING ERRCODE = 'RV010',
        HINT = CASE WHEN p_names IS NULL THEN 'Only numbers are known here.' ELSE 'Known: ' || array_to_string(p_names, ', ') END;
    END;
    v_step := coalesce(v_match[4]::int, 1);
    IF v_from NOT BETWEEN p_low AND p_high OR v_to NOT BETWEEN p_low AND p_high OR v_step < 1 OR v_step > p_high - p_low + 1 THEN
      RAISE EXCEPTION 'the field % of a cron expression is out of range: "%"', p_what, left(p_text, 80) USING ERRCODE = 'RV010', HINT = format('It goes from %s to %s.', p_low, p_high);
    END IF;
    IF v_from > v_to THEN
      RAISE EXCEPTION 'a range of the field % of a cron expression goes backwards: "%"', p_what, left(p_text, 80) USING ERRCODE = 'RV010',
        HINT = format('Write %s-%s,%s-%s.', v_from, p_high, p_low, v_to);
    END IF;
    v_all := v_all || ARRAY(SELECT generate_series(v_from, v_to, v_step));
  END LOOP;
  RETURN ARRAY(SELECT DISTINCT n FROM unnest(v_all) n ORDER BY n);
END $$;

-- Reads a cron expression: five fields, or six with seconds first, or @yearly, @monthly, @weekly, @daily, @hourly. Raises RV010.
CREATE FUNCTION reeve.parse_cron(p_text text) RETURNS reeve.cron LANGUAGE plpgsql IMMUTABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_fields text[]; v_text text := lower(btrim(p_text)); v reeve.cron;
  v_days text[] := '{SUN,MON,TUE,WED,THU,FRI,SAT}'; v_months text[] := '{JAN,FEB,MAR,APR,MAY,JUN,JUL,AUG,SEP,OCT,NOV,DEC}';
BEGIN
  IF p_text IS NULL OR length(p_text) > 400 THEN RAISE EXCEPTION 'a cron expression has 1 to 400 characters' USING ERRCODE = 'RV010'; END IF;
  v_text := CASE v_text WHEN '@yearly' THEN '0 0 1 1 *' WHEN '@annually' THEN '0 0 1 1 *' WHEN '@monthly' THEN '0 0 1 * *' WHEN '@weekly' THEN '0 0 * * 0'
                        WHEN '@daily' THEN '0 0 * * *' WHEN '@midnight' THEN '0 0 * * *' WHEN '@hourly' THEN '0 * * * *' ELSE v_text END;
  v_fields := regexp_split_to_array(v_text, '[ \t]+');
  IF cardinality(v_fields) = 5 THEN v_fields := '{0}' || v_fields; END IF;
  IF cardinality(v_fields) <> 6 THEN
    RAISE EXCEPTION '"%" is not a cron expression', left(p_text, 80) USING ERRCODE = 'RV010',
      HINT = 'Five fields: minute hour day month weekday, for example "30 6 * * 1-5"; six with seconds first; or @hourly, @daily, @weekly, @monthly, @yearly.';
  END IF;
  v.seconds := reeve.cron_field(v_fields[1], 'second', 0, 59, NULL);
  v.minutes := reeve.cron_field(v_fields[2], 'minute', 0, 59, NULL);
  v.hours := reeve.cron_field(v_fields[3], 'hour', 0, 23, NULL);
  v.days := reeve.cron_field(v_fields[4], 'day', 1, 31, NULL);
  v.months := reeve.cron_field(v_fields[5], 'month', 1, 12, v_months);
  v.weekdays := ARRAY(SELECT DISTINCT n % 7 FROM unnest(reeve.cron_field(v_fields[6], 'weekday', 0, 7, v_days)) n ORDER BY 1);     -- 7 is Sunday too
  v.any_day := v_fields[4] IN ('*', '?');
  v.any_weekday := v_fields[6] IN ('*', '?');
  v.every_hour := v.hours = ARRAY(SELECT generate_series(0, 23));
  RETURN v;
END $$;

-- The first day from p_from on that matches; NULL when none of the next nine years does (29 February comes at least every eight).
CREATE FUNCTION reeve.cron_day(c reeve.cron, p_from date) RETURNS date LANGUAGE plpgsql IMMUTABLE SET search_path = reeve, pg_temp AS $$
DECLARE d date := p_from; v_end date := p_from + 3290; v_dom boolean; v_dow boolean;
BEGIN
  WHILE d < v_end LOOP
    IF NOT extract(month FROM d)::int = ANY (c.months) THEN
      d := (date_trunc('month', d::timestamp) + interval '1 month')::date;
      CONTINUE;
    END IF;
    v_dom := extract(day FROM d)::int = ANY (c.days);
    v_dow := extract(dow FROM d)::int = ANY (c.weekdays);
    IF (CASE WHEN c.any_day THEN v_dow WHEN c.any_weekday THEN v_dom ELSE v_dom OR v_dow END) THEN RETURN d; END IF;
    d := d + 1;
  END LOOP;
  RETURN NULL;
END $$;

-- When a wall clock shows this time: the first of two where an hour comes twice, the first moment after the gap where it is skipped.
CREATE FUNCTION reeve.local_instant(p_local timestamp, p_zone text) RETURNS timestamptz LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v timestamptz := p_local AT TIME ZONE p_zone; v_low timestamptz; v_high timestamptz := v; v_middle timestamptz; v_offset interval; v_delta interval;
BEGIN
  v_offset := (v AT TIME ZONE p_zone) - (v AT TIME ZONE 'UTC');
  IF v AT TIME ZONE p_zone <> p_local THEN
    v_low := v - interval '25 hours';
    IF (v_low AT TIME ZONE p_zone) - (v_low AT TIME ZONE 'UTC') = v_offset THEN RETURN v; END IF;
    WHILE v_high - v_low > interval '1 second' LOOP
      v_middle := date_trunc('second', v_low + (v_high - v_low) / 2);
      IF (v_middle AT TIME ZONE p_zone) - (v_middle AT TIME ZONE 'UTC') = v_offset THEN v_high := v_middle; ELSE v_low := v_middle; END IF;
    END LOOP;
    RETURN v_high;
  END IF;
  v_low := v - interval '3 hours';
  v_delta := ((v_low AT TIME ZONE p_zone) - (v_low AT TIME ZONE 'UTC')) - v_offset;
  IF v_delta > interval '0' AND ((v - v_delta) AT TIME ZONE p_zone) = p_local THEN RETURN v - v_delta; END IF;
  RETURN v;
END $$;

-- The first tick after p_after; NULL when there is none. The declared rule for clock changes: an expression for every hour (*) follows elapsed time,
-- so an hour that comes twice ticks twice and one that is skipped does not. One that names hours ticks once for each time it names: at the
-- first showing of an hour that comes twice, and at the end of the gap for times that are skipped (several of them are one tick).
CREATE FUNCTION reeve.cron_next(c reeve.cron, p_zone text, p_after timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE t timestamptz; l timestamp; d date; v timestamptz; m int; s int; n int; h int; v_low timestamp;
BEGIN
  IF c.every_hour THEN
    t := date_trunc('second', p_after) + interval '1 second';
    LOOP
      l := t AT TIME ZONE p_zone;
      d := reeve.cron_day(c, l::date);
      IF d IS NULL THEN RETURN NULL; END IF;
      IF d > l::date THEN
        -- An hour that midnight repeats shows the day before again: midnight itself comes after it.
        t := greatest(reeve.local_instant(d::timestamp, p_zone), t + interval '1 second');
        CONTINUE;
      END IF;
      m := extract(minute FROM l)::int;
      s := floor(extract(second FROM l))::int;
      IF m = ANY (c.minutes) THEN
        SELECT min(x) INTO n FROM unnest(c.seconds) x WHERE x >= s;
        IF n IS NOT NULL THEN RETURN t + (n - s) * interval '1 second'; END IF;
      END IF;
      SELECT min(x) INTO n FROM unnest(c.minutes) x WHERE x > m;
      t := t + make_interval(mins => coalesce(n, 60) - m, secs => -s);
    END LOOP;
  END IF;
  l := p_after AT TIME ZONE p_zone;
  v_low := l - interval '26 hours';                        -- no clock change is larger
  d := l::date - 2;
  LOOP
    d := reeve.cron_day(c, d);
    IF d IS NULL THEN RETURN NULL; END IF;
    FOREACH h IN ARRAY c.hours LOOP
      CONTINUE WHEN d + make_interval(hours => h + 1) <= v_low;
      FOREACH m IN ARRAY c.minutes LOOP
        CONTINUE WHEN reeve.local_instant(d + make_time(h, m, 59), p_zone) <= p_after;
        FOREACH s IN ARRAY c.seconds LOOP
          v := reeve.local_instant(d + make_time(h, m, s), p_zone);
          IF v > p_after THEN RETURN v; END IF;
        END LOOP;
      END LOOP;
    END LOOP;
    d := d + 1;
  END LOOP;
END $$;

-- The newest ticks after p_after and up to p_until, at most p_most, oldest first: found from the end, so that a long absence costs little.
CREATE FUNCTION reeve.cron_missed(c reeve.cron, p_zone text, p_after timestamptz, p_until timestamptz, p_most int) RETURNS timestamptz[]
LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_first timestamptz := reeve.cron_next(c, p_zone, p_after); v_second timestamptz; v_span interval; v_from timestamptz; t timestamptz; v_all timestamptz[];
BEGIN
  IF v_first IS NULL OR v_first > p_until THEN RETURN '{}'; END IF;
  v_second := reeve.cron_next(c, p_zone, v_first);
  v_span := greatest(coalesce(v_second - v_first, interval '1 day'), interval '1 second') * p_most;
  LOOP
    v_from := greatest(p_until - v_span, p_after);
    v_all := '{}';
    t := reeve.cron_next(c, p_zone, v_from);
    WHILE t <= p_until LOOP
      v_all := v_all || t;
      t := reeve.cron_next(c, p_zone, t);
    END LOOP;
    IF v_from <= p_after OR cardinality(v_all) >= p_most THEN RETURN v_all[greatest(cardinality(v_all) - p_most + 1, 1):]; END IF;
    v_span := v_span * 2;
  END LOOP;
END $$;

-- Refuses what is no time zone of this server's.
CREATE FUNCTION reeve.check_zone(p_zone text) RETURNS void LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_timezone_names n WHERE n.name = p_zone) THEN
    RAISE EXCEPTION 'time zone "%" is unknown', left(coalesce(p_zone, ''), 80) USING ERRCODE = 'RV010', HINT = 'Use a name of the IANA database that the server knows, for example Europe/Berlin.';
  END IF;
END $$;

-- The next p_count ticks of an expression, with the wall clock of the zone.
CREATE FUNCTION reeve.preview_cron(p_cron text, p_zone text, p_count int DEFAULT 10, p_from timestamptz DEFAULT reeve.clock())
RETURNS TABLE (tick timestamptz, local_time timestamp) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE c reeve.cron := reeve.parse_cron(p_cron); t timestamptz := p_from;
BEGIN
  PERFORM reeve.check_zone(p_zone);
  IF p_count IS NULL OR p_count NOT BETWEEN 1 AND 1000 THEN RAISE EXCEPTION 'a preview has 1 to 1000 ticks' USING ERRCODE = 'RV010'; END IF;
  FOR n IN 1..p_count LOOP
    t := reeve.cron_next(c, p_zone, t);
    EXIT WHEN t IS NULL;
    tick := t;
    local_time := t AT TIME ZONE p_zone;
    RETURN NEXT;
  END LOOP;
END $$;

GRANT EXECUTE ON FUNCTION reeve.preview_cron(text, text, int, timestamptz) TO reeve_viewer, reeve_operator;
