-- The plain fields of instances, their custom statuses and the outputs of their last executions.
CREATE OR REPLACE FUNCTION read_instances(p_namespace int, p jsonb)
RETURNS TABLE (place int, fields jsonb, custom_status bytea, output bytea)
LANGUAGE plpgsql STABLE @settings@ AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT r.o, plain_fields(i, t) || jsonb_build_object('ended_as', x.status), s.data, x.output
        FROM jsonb_to_recordset(p) AS r(o int, instance text)
        JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON i.status <> 'Awaited'
        LEFT JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        LEFT JOIN executions AS x
            ON x.instance = ANY (ARRAY[i.number]) AND x.execution = i.execution
        LEFT JOIN custom_statuses AS s
            ON t.custom_status_version > 0 AND s.instance = ANY (ARRAY[i.number]);
END
$$;

-- Rows of a history that have a page of events after `p_after`, or a little more; each with the number
-- of its last event and how many it has. A first row (`number` 0) has what bounds the history: the
-- incarnation, the first and the current execution, the number of the last event, and whether other
-- rows follow; and the history itself if it is packed.
CREATE OR REPLACE FUNCTION read_events(
    p_namespace int, p_instance text, p_execution int, p_after int
)
RETURNS TABLE (number int, fields jsonb, data bytea)
LANGUAGE sql STABLE @settings@ AS $$
    WITH owner AS (
        SELECT i.number, i.incarnation, i.execution, i.first_execution, x.history,
               CASE WHEN i.execution = p_execution THEN t.last_event ELSE x.event_count END AS last
        FROM find_instance(p_namespace, p_instance) AS i
        JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        LEFT JOIN executions AS x ON x.instance = ANY (ARRAY[i.number]) AND x.execution = p_execution
        WHERE i.status <> 'Awaited'
    ), page AS (
        -- The lengths of events are no part of a page, nor is what the first row has before it.
        SELECT e.number, e.count, e.data,
               row_number() OVER in_order = 1
               OR (e.number - e.count <= p_after + 1000
                   AND sum(octet_length(e.data)) OVER in_order <= 4194304 + 8192) AS fits
        FROM (
            SELECT e.number, e.count, e.data FROM owner AS o
            JOIN events AS e ON e.instance = ANY (ARRAY[o.number])
            WHERE e.execution = p_execution AND e.number > p_after
              AND p_execution >= o.first_execution AND o.history IS NULL
            ORDER BY e.number LIMIT 1001
        ) AS e
        WINDOW in_order AS (ORDER BY e.number ROWS UNBOUNDED PRECEDING)
    )
    SELECT 0, jsonb_build_object(
               'incarnation', o.incarnation, 'current', o.execution, 'first', o.first_execution,
               'last', o.last, 'more', EXISTS (SELECT FROM page WHERE NOT fits)),
           o.history
    FROM owner AS o
    UNION ALL
    (SELECT p.number, to_jsonb(p.count), p.data FROM page AS p WHERE p.fits ORDER BY p.number)
$$;

-- The values with these keys, or all; a first row (`key` NULL) tells of the instance.
CREATE OR REPLACE FUNCTION read_values(p_namespace int, p_instance text, p_keys jsonb)
RETURNS TABLE (key text, fields jsonb, data bytea)
LANGUAGE sql STABLE @settings@ AS $$
    WITH owner AS (
        SELECT i.number, i.incarnation, t.last_commit
        FROM find_instance(p_namespace, p_instance) AS i
        JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        WHERE i.status <> 'Awaited'
    )
    SELECT NULL::text, jsonb_build_array(o.incarnation, o.last_commit), NULL::bytea FROM owner AS o
    UNION ALL
    SELECT v.key, NULL, v.data FROM owner AS o JOIN instance_values AS v
        ON v.instance = ANY (ARRAY[o.number])
    WHERE p_keys IS NULL OR p_keys ? v.key
$$;

-- Makes the namespace if it is missing; returns its number.
CREATE OR REPLACE FUNCTION open_namespace(p_name text) RETURNS int
LANGUAGE plpgsql VOLATILE @settings@ AS $$
DECLARE
    v_number int;
BEGIN
    LOOP
        SELECT n.number INTO v_number FROM namespaces AS n WHERE n.name = p_name;
        EXIT WHEN v_number IS NOT NULL;
        INSERT INTO namespaces (name) VALUES (p_name) ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN v_number;
END
$$;

-- The version of the schema, and the digest of its functions.
CREATE OR REPLACE FUNCTION schema_state() RETURNS TABLE (version int, functions text)
LANGUAGE sql STABLE @settings@ AS $$
    SELECT (SELECT value::int FROM meta WHERE key = 'version'),
           (SELECT value FROM meta WHERE key = 'functions')
$$;

-- Plain fields, custom statuses and outputs of instances, as many of the first as fit into a page.
CREATE OR REPLACE FUNCTION read_states(p_numbers bigint[])
RETURNS TABLE (number bigint, fields jsonb, custom_status bytea, output bytea)
LANGUAGE sql STABLE @settings@ AS $$
    SELECT s.number, s.fields, s.custom_status, s.output FROM (
        SELECT i.number, plain_fields(i, t) || jsonb_build_object('ended_as', x.status) AS fields,
               c.data AS custom_status, x.output, l.place,
               sum(coalesce(octet_length(x.output), 0) + coalesce(octet_length(c.data), 0))
                   OVER (ORDER BY l.place) AS size
        FROM unnest(p_numbers) WITH ORDINALITY AS l(number, place)
        JOIN instances AS i ON i.number = ANY (ARRAY[l.number])
        JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        LEFT JOIN executions AS x
            ON x.instance = ANY (ARRAY[i.number]) AND x.execution = i.execution
        LEFT JOIN custom_statuses AS c
            ON t.custom_status_version > 0 AND c.instance = ANY (ARRAY[i.number])
    ) AS s
    WHERE s.place = 1 OR s.size <= 4194304
    ORDER BY s.place
$$;

-- All executions of an instance, or one, ascending; the current one without an end while it runs.
CREATE OR REPLACE FUNCTION read_executions(p_namespace int, p_instance text, p_execution int)
RETURNS TABLE (
    execution int, status text, event_count int, started_at bigint, completed_at bigint,
    output bytea, instance_status text, first int, current int
)
LANGUAGE sql STABLE @settings@ AS $$
    WITH owner AS (
        SELECT i.number, i.execution, i.first_execution, i.status, i.started_at, t.last_event
        FROM find_instance(p_namespace, p_instance) AS i
        JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        WHERE i.status <> 'Awaited'
    )
    SELECT e.*, o.status, o.first_execution, o.execution
    FROM owner AS o CROSS JOIN LATERAL (
        SELECT x.execution, x.status, x.event_count, x.started_at, x.completed_at, x.output
        FROM executions AS x
        WHERE x.instance = o.number AND x.execution >= o.first_execution
          AND (p_execution IS NULL OR x.execution = p_execution)
        UNION ALL
        SELECT o.execution, 'Running', o.last_event, o.started_at, NULL, NULL
        WHERE o.status = 'Running' AND (p_execution IS NULL OR o.execution = p_execution)
    ) AS e
    ORDER BY e.execution
$$;

-- What an instance has still to do: a row with `part` 0 for itself, 1 for each activity, 2 for each
-- message.
CREATE OR REPLACE FUNCTION read_work(p_namespace int, p_instance text)
RETURNS TABLE (part int, fields jsonb, data bytea)
LANGUAGE sql STABLE @settings@ AS $$
    WITH owner AS (
        SELECT i.number, i.status, t.attempt, t.token, t.held_until
        FROM find_instance(p_namespace, p_instance) AS i
        JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        WHERE i.status <> 'Awaited'
    ), queued AS (
        SELECT a.*, q.name, q.tag,
               sum(octet_length(a.data)) OVER in_order AS size,
               row_number() OVER in_order AS number
        FROM (
            SELECT a.* FROM owner AS o JOIN activities AS a ON a.instance = ANY (ARRAY[o.number])
            ORDER BY a.added_at, a.place LIMIT 1001
        ) AS a
        JOIN activity_queues AS q ON q.number = a.queue
        WINDOW in_order AS (ORDER BY a.added_at, a.place, a.id)
    )
    SELECT 0, jsonb_build_array(o.status, o.attempt, o.token IS NOT NULL, o.held_until), NULL::bytea
    FROM owner AS o
    UNION ALL
    (SELECT 1, jsonb_build_array(q.id, q.name, q.tag, q.added_at, q.delivery, q.visible_at,
                                 q.token IS NOT NULL, q.held_until), q.data
     FROM queued AS q WHERE q.number = 1 OR q.size <= 4194304 ORDER BY q.number)
    UNION ALL
    SELECT 3, NULL, NULL WHERE EXISTS (SELECT FROM queued AS q WHERE q.number > 1 AND q.size > 4194304)
    UNION ALL
    (SELECT 2, jsonb_build_array(m.id, m.kind, octet_length(m.data), m.visible_at), NULL
     FROM owner AS o JOIN messages AS m ON m.instance = ANY (ARRAY[o.number])
     ORDER BY m.rank, m.position, m.arrival LIMIT 1001)
$$;
