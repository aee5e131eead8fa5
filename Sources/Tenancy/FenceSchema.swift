/// Schema `reeve_fence` of every tenant's database (design section 5): which attempt of a job may write there. Tenants'
/// logins reach the table through functions that are bound to the login, and so only their own rows.
enum FenceSchema {
    static let name = "reeve_fence"
    static let owner = "reeve_fence_owner"
    /// Names the form of what is inside, for a later program that changes it.
    static let comment = "reeve fence 1"
    static let functions = [
        "enter(bigint, uuid)", "confirm(bigint, uuid)", "entered(bigint, uuid)", "hold(bigint, uuid)", "holder(bigint)",
    ]

    /// What is inside the schema; run as its owner.
    static let script = """
        CREATE TABLE reeve_fence.lease (
          login name NOT NULL,
          job_id bigint NOT NULL,
          lease_id uuid NOT NULL,
          confirmed boolean NOT NULL DEFAULT false,
          written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
          PRIMARY KEY (login, job_id)
        );
        CREATE INDEX lease_written ON reeve_fence.lease (login, written_at);
        REVOKE ALL ON reeve_fence.lease FROM PUBLIC;

        -- Takes the right to write from the attempt before, whose open transaction it waits for, and gives it to nobody yet;
        -- removes what jobs of another week left.
        CREATE FUNCTION reeve_fence.enter(p_job bigint, p_lease uuid) RETURNS void
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
        BEGIN
          INSERT INTO reeve_fence.lease AS l (login, job_id, lease_id) VALUES (session_user, p_job, p_lease)
          ON CONFLICT (login, job_id) DO UPDATE SET lease_id = excluded.lease_id, written_at = excluded.written_at,
            confirmed = l.confirmed AND l.lease_id = excluded.lease_id;
          DELETE FROM reeve_fence.lease l WHERE l.ctid = ANY (ARRAY(
            SELECT o.ctid FROM reeve_fence.lease o
            WHERE o.login = session_user AND o.written_at < clock_timestamp() - interval '7 days'
            LIMIT 50 FOR UPDATE SKIP LOCKED));
        END $$;

        -- Makes the attempt that entered the one that may write: called when its lease was still current after it had entered.
        -- Does nothing when another has entered meanwhile. Without this an attempt that came late could use the row that it overwrote.
        CREATE FUNCTION reeve_fence.confirm(p_job bigint, p_lease uuid) RETURNS void
        LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS
        $$ UPDATE reeve_fence.lease l SET confirmed = true
           WHERE l.login = session_user AND l.job_id = p_job AND l.lease_id = p_lease $$;

        -- Whether the attempt may write, and stays the one until the end of the transaction: an attempt that enters waits for
        -- this lock. Only in a transaction that may write.
        CREATE FUNCTION reeve_fence.hold(p_job bigint, p_lease uuid) RETURNS boolean
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
        DECLARE v_lease uuid; v_confirmed boolean;
        BEGIN
          SELECT l.lease_id, l.confirmed INTO v_lease, v_confirmed FROM reeve_fence.lease l
          WHERE l.login = session_user AND l.job_id = p_job FOR SHARE;
          RETURN coalesce(v_lease = p_lease AND v_confirmed, false);
        END $$;

        -- The same without the lock: no promise, but also for a transaction that may not write.
        CREATE FUNCTION reeve_fence.entered(p_job bigint, p_lease uuid) RETURNS boolean
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
        $$ SELECT EXISTS (SELECT FROM reeve_fence.lease l
                          WHERE l.login = session_user AND l.job_id = p_job AND l.lease_id = p_lease AND l.confirmed) $$;

        -- The attempt that entered last.
        CREATE FUNCTION reeve_fence.holder(p_job bigint) RETURNS uuid
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
        $$ SELECT l.lease_id FROM reeve_fence.lease l WHERE l.login = session_user AND l.job_id = p_job $$;

        REVOKE ALL ON ALL FUNCTIONS IN SCHEMA reeve_fence FROM PUBLIC;
        """
}
