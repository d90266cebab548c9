-- The plain fields of an instance, its custom status and the output of its last execution.
CREATE OR REPLACE FUNCTION read_instance(p_namespace int, p_instance text)
RETURNS TABLE (fields jsonb, custom_status bytea, output bytea)
LANGUAGE sql STABLE @settings@ AS $$
    SELECT plain_fields(i, t) || jsonb_build_object('ended_as', x.status), s.data, x.output
    FROM instances AS i
    LEFT JOIN turns AS t ON t.number = i.number
    LEFT JOIN executions AS x ON x.instance = i.number AND x.execution = i.execution
    LEFT JOIN custom_statuses AS s ON t.custom_status_version > 0 AND s.instance = i.number
    WHERE i.namespace = p_namespace AND i.id = p_instance AND i.status <> 'Awaited'
$$;

-- One page of a history, and a first row (`number` 0) with what bounds it: the incarnation, the first
-- and the current execution, and the number of the last event.
CREATE OR REPLACE FUNCTION read_events(
    p_namespace int, p_instance text, p_execution int, p_after int
)
RETURNS TABLE (number int, fields jsonb, data bytea)
LANGUAGE sql STABLE @settings@ AS $$
    WITH owner AS (
        SELECT i.number, i.incarnation, i.execution, i.first_execution,
               CASE WHEN i.execution = p_execution THEN t.last_event ELSE x.event_count END AS last
        FROM instances AS i
        JOIN turns AS t ON t.number = i.number
        LEFT JOIN executions AS x ON x.instance = i.number AND x.execution = p_execution
        WHERE i.namespace = p_namespace AND i.id = p_instance AND i.status <> 'Awaited'
    ), page AS (
        SELECT e.number, e.data,
               row_number() OVER in_order AS place,
               sum(octet_length(e.data)) OVER in_order AS size
        FROM (
            SELECT e.number, e.data FROM owner AS o
            JOIN events AS e ON e.instance = o.number
            WHERE e.execution = p_execution AND e.number > p_after
              AND p_execution >= o.first_execution
            ORDER BY e.number LIMIT 1001
        ) AS e
        WINDOW in_order AS (ORDER BY e.number ROWS UNBOUNDED PRECEDING)
    )
    SELECT 0, jsonb_build_object(
               'incarnation', o.incarnation, 'current', o.execution, 'first', o.first_execution,
               'last', o.last, 'more', EXISTS (
                   SELECT FROM page WHERE place > 1 AND (place > 1000 OR size > 4194304))),
           NULL::bytea
    FROM owner AS o
    UNION ALL
    (SELECT p.number, NULL, p.data FROM page AS p
     WHERE p.place = 1 OR (p.place <= 1000 AND p.size <= 4194304) ORDER BY p.number)
$$;

-- The values with these keys, or all; a first row (`key` NULL) tells of the instance.
CREATE OR REPLACE FUNCTION read_values(p_namespace int, p_instance text, p_keys jsonb)
RETURNS TABLE (key text, fields jsonb, data bytea)
LANGUAGE sql STABLE @settings@ AS $$
    WITH owner AS (
        SELECT i.number, i.incarnation, t.last_commit
        FROM instances AS i JOIN turns AS t ON t.number = i.number
        WHERE i.namespace = p_namespace AND i.id = p_instance AND i.status <> 'Awaited'
    )
    SELECT NULL::text, jsonb_build_array(o.incarnation, o.last_commit), NULL::bytea FROM owner AS o
    UNION ALL
    SELECT v.key, NULL, v.data FROM owner AS o JOIN instance_values AS v ON v.instance = o.number
    WHERE p_keys IS NULL OR p_keys ? v.key
$$;

-- What tells a waiting caller whether an instance has changed.
CREATE OR REPLACE FUNCTION read_marks(p_namespace int, p_instance text) RETURNS jsonb
LANGUAGE sql STABLE @settings@ AS $$
    SELECT jsonb_build_array(
        i.status, t.last_commit, t.parked_reason, t.parked_details, t.parked_since)
    FROM instances AS i JOIN turns AS t ON t.number = i.number
    WHERE i.namespace = p_namespace AND i.id = p_instance AND i.status <> 'Awaited'
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
