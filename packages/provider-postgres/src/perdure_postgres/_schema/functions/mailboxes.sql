-- The row of an id. The limit keeps the planner from reading a whole namespace in place of it.
CREATE OR REPLACE FUNCTION find_instance(p_namespace int, p_id text) RETURNS SETOF instances
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT i.* FROM instances AS i WHERE i.namespace = p_namespace AND i.id = p_id LIMIT 1
$$;

-- The number of an id beside another part of a key. Both then come from one row, and the planner looks a
-- row up by both; it would search the index for the other part alone, since it takes tables for small.
CREATE OR REPLACE FUNCTION with_key(p_namespace int, p_instance text, p_id text)
RETURNS TABLE (number bigint, id text)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT i.number, p_id FROM instances AS i
    WHERE i.namespace = p_namespace AND i.id = p_instance LIMIT 1
$$;

-- What a mailbox holds at a moment: since when something is visible, and when the next message is due.
CREATE OR REPLACE FUNCTION mailbox_times(p_instance bigint, p_now bigint)
RETURNS TABLE (since bigint, next bigint)
LANGUAGE sql STABLE AS $$
    SELECT min(m.due) FILTER (WHERE m.visible_at IS NULL OR m.visible_at <= p_now),
           min(m.visible_at) FILTER (WHERE m.visible_at > p_now)
    FROM messages AS m
    WHERE m.instance = p_instance
$$;

-- One delivery (MAIL-12, MAIL-13, MAIL-16): the first visible messages that the caller does not hold,
-- as many as fit; `part` 1 for a message, and one row with `part` 2 if others wait.
CREATE OR REPLACE FUNCTION deliver(p_instance bigint, p_now bigint, p_stamp bigint, p_held jsonb)
RETURNS TABLE (part int, fields jsonb, data bytea)
LANGUAGE sql STABLE AS $$
    WITH first AS (
        SELECT m.id, m.kind, m.addressed, m.execution, m.visible_at, m.data,
               row_number() OVER in_order AS place,
               sum(octet_length(m.data)) OVER in_order AS size
        FROM (
            SELECT * FROM messages AS each
            WHERE each.instance = p_instance
              AND (each.rank, each.position) <= (2, greatest(p_now, p_stamp))
              AND (each.visible_at IS NULL OR each.visible_at <= p_now)
              AND (p_held IS NULL OR NOT p_held ? each.id)
            ORDER BY each.rank, each.position, each.arrival
            LIMIT 1001
        ) AS m
        WINDOW in_order AS (
            ORDER BY m.rank, m.position, m.arrival ROWS UNBOUNDED PRECEDING
        )
    ), judged AS (
        SELECT *, place = 1 OR (place <= 1000 AND size <= 4194304) AS fits FROM first
    ), beyond AS (
        -- A cancellation is delivered however long the mailbox is.
        SELECT m.id, m.kind, m.addressed, m.execution, m.visible_at, m.data, 1002::bigint AS place
        FROM messages AS m
        WHERE m.instance = p_instance AND m.id = 'cancel' AND m.kind = 'cancel'
          AND (m.visible_at IS NULL OR m.visible_at <= p_now)
          AND (p_held IS NULL OR NOT p_held ? m.id)
          AND EXISTS (SELECT FROM judged WHERE NOT fits)
          AND NOT EXISTS (SELECT FROM judged WHERE fits AND id = 'cancel')
    ), chosen AS (
        SELECT id, kind, addressed, execution, visible_at, data, place FROM judged WHERE fits
        UNION ALL SELECT * FROM beyond
    )
    (SELECT 1, jsonb_build_array(id, kind, addressed, execution, visible_at), data
     FROM chosen ORDER BY place)
    UNION ALL
    (SELECT 2, NULL, NULL FROM judged WHERE NOT fits LIMIT 1)
$$;

-- The numbers of the queues for these orchestrations; missing ones are made.
CREATE OR REPLACE FUNCTION make_turn_queues(p_namespace int, p_keys jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO turn_queues (namespace, name, pin, engine)
    SELECT DISTINCT p_namespace, k.name, coalesce('=' || k.version, ''), k.engine
    FROM jsonb_to_recordset(p_keys) AS k(name text, version text, engine int)
    WHERE k.name IS NOT NULL
      AND NOT EXISTS (
        SELECT FROM turn_queues AS q
        WHERE q.namespace = p_namespace AND q.name = k.name
          AND q.pin = coalesce('=' || k.version, '') AND q.engine = k.engine
    )
    ORDER BY 2, 3, 4
    ON CONFLICT DO NOTHING;
END
$$;

-- Makes the queues for these activities that are missing; returns whether there were any.
CREATE OR REPLACE FUNCTION make_activity_queues(p_namespace int, p_keys jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM jsonb_to_recordset(p_keys) AS k(name text, tag text)
        WHERE NOT EXISTS (
            SELECT FROM activity_queues AS q
            WHERE q.namespace = p_namespace AND q.name = k.name
              AND q.tag = coalesce('=' || k.tag, '')
        )
    ) THEN
        RETURN false;
    END IF;
    INSERT INTO activity_queues (namespace, name, tag)
    SELECT DISTINCT p_namespace, k.name, coalesce('=' || k.tag, '')
    FROM jsonb_to_recordset(p_keys) AS k(name text, tag text)
    ORDER BY 2, 3
    ON CONFLICT DO NOTHING;
    RETURN true;
END
$$;

-- Those of these ids whose instances another transaction has locked now.
CREATE OR REPLACE FUNCTION find_held(p_namespace int, p_ids jsonb) RETURNS text[]
LANGUAGE plpgsql VOLATILE @settings@ AS $$
DECLARE
    v_free bigint[];
BEGIN
    SELECT coalesce(array_agg(l.number), '{}') INTO v_free FROM (
        SELECT t.number FROM turns AS t
        WHERE t.number = ANY (ARRAY(
            SELECT i.number FROM jsonb_array_elements_text(p_ids) AS w(id)
            JOIN LATERAL find_instance(p_namespace, w.id) AS i ON true))
        FOR UPDATE SKIP LOCKED
    ) AS l;
    RETURN ARRAY(
        SELECT w.id FROM jsonb_array_elements_text(p_ids) AS w(id)
        JOIN LATERAL find_instance(p_namespace, w.id) AS i ON true
        WHERE i.number <> ALL (v_free)
    );
END
$$;
