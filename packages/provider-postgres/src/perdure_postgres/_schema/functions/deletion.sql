-- Takes instances out of sight: nothing finds them by id from now on, and what is large is removed
-- later, in parts. The caller holds their locks.
CREATE OR REPLACE FUNCTION delete_instances(p_numbers bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM labels AS l WHERE l.instance = ANY (p_numbers);
    DELETE FROM messages AS m WHERE m.instance = ANY (p_numbers);
    DELETE FROM activities AS a WHERE a.instance = ANY (p_numbers);
    DELETE FROM custom_statuses AS s WHERE s.instance = ANY (p_numbers);
    DELETE FROM turns AS t WHERE t.number = ANY (p_numbers);
    DELETE FROM instances AS i WHERE i.number = ANY (p_numbers);
    INSERT INTO removals (instance)
    SELECT d.number FROM unnest(p_numbers) AS d(number)
    ON CONFLICT (instance) DO UPDATE SET before = NULL;
END
$$;

-- Deletes ended instances; returns for each place 'deleted', 'running' or 'absent'. With `hurried` it
-- leaves a row soon that another transaction holds, as `write` does.
CREATE OR REPLACE FUNCTION delete_ended(p_namespace int, p jsonb)
RETURNS TABLE (place int, answer text)
LANGUAGE plpgsql VOLATILE @settings@ AS $$
DECLARE
    v_numbers bigint[];
BEGIN
    IF p->0 ? 'hurried' THEN
        PERFORM set_config('lock_timeout', '250ms', true);
    END IF;
    PERFORM t.number
    FROM jsonb_to_recordset(p) AS r(instance text)
    JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
    JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
    ORDER BY i.number FOR UPDATE OF t;
    RETURN QUERY
        SELECT r.o, CASE WHEN i.number IS NULL THEN 'absent'
                         WHEN i.status IN ('Completed', 'Failed') THEN 'deleted'
                         ELSE 'running' END
        FROM jsonb_to_recordset(p) AS r(o int, instance text, incarnation text)
        LEFT JOIN LATERAL find_instance(p_namespace, r.instance) AS i
            ON i.incarnation = r.incarnation AND i.status <> 'Awaited';
    SELECT array_agg(i.number) INTO v_numbers
    FROM jsonb_to_recordset(p) AS r(instance text, incarnation text)
    JOIN LATERAL find_instance(p_namespace, r.instance) AS i
        ON i.incarnation = r.incarnation AND i.status IN ('Completed', 'Failed');
    IF v_numbers IS NOT NULL THEN
        PERFORM delete_instances(v_numbers);
    END IF;
END
$$;

-- Deletes executions below a number; returns how many there were, or NULL without the incarnation.
CREATE OR REPLACE FUNCTION prune_executions(
    p_namespace int, p_instance text, p_incarnation text, p_before int
) RETURNS int
LANGUAGE plpgsql VOLATILE @settings@ AS $$
DECLARE
    v_number bigint;
    v_first int;
    v_before int;
BEGIN
    PERFORM t.number FROM find_instance(p_namespace, p_instance) AS i
    JOIN turns AS t ON t.number = ANY (ARRAY[i.number]) FOR UPDATE OF t;
    SELECT i.number, i.first_execution, least(p_before, i.execution) INTO v_number, v_first, v_before
    FROM find_instance(p_namespace, p_instance) AS i
    WHERE i.incarnation = p_incarnation AND i.status <> 'Awaited';
    IF v_number IS NULL THEN
        RETURN NULL;
    ELSIF v_before <= v_first THEN
        RETURN 0;
    END IF;
    UPDATE instances AS i
    SET first_execution = v_before,
        continued = EXISTS (
            SELECT FROM executions AS x
            WHERE x.instance = i.number AND x.execution >= v_before
              AND x.status = 'ContinuedAsNew')
    WHERE i.number = v_number;
    INSERT INTO removals AS r (instance, before) VALUES (v_number, v_before)
    ON CONFLICT (instance) DO UPDATE SET before = v_before;
    RETURN v_before - v_first;
END
$$;

-- Removes up to `p_rows` rows of what deletions have left; returns whether anything is left.
CREATE OR REPLACE FUNCTION remove_leftovers(p_rows int) RETURNS boolean
LANGUAGE plpgsql VOLATILE @settings@ AS $$
DECLARE
    v_one record;
    v_left int := p_rows;
    v_count int;
BEGIN
    FOR v_one IN SELECT * FROM removals ORDER BY instance LIMIT 100 FOR UPDATE SKIP LOCKED LOOP
        DELETE FROM events WHERE ctid = ANY (ARRAY(
            SELECT e.ctid FROM events AS e
            WHERE e.instance = v_one.instance
              AND (v_one.before IS NULL OR e.execution < v_one.before)
            LIMIT v_left));
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_left := v_left - v_count;
        IF v_left > 0 THEN
            DELETE FROM executions AS x
            WHERE x.instance = v_one.instance
              AND (v_one.before IS NULL OR x.execution < v_one.before);
            IF v_one.before IS NULL THEN
                DELETE FROM instance_values AS v WHERE v.instance = v_one.instance;
            END IF;
            DELETE FROM removals AS r WHERE r.instance = v_one.instance;
        END IF;
        EXIT WHEN v_left <= 0;
    END LOOP;
    RETURN EXISTS (SELECT FROM removals) AND v_left < p_rows OR v_left <= 0;
END
$$;

-- Deletes up to `p_limit` early events; returns how many there were.
CREATE OR REPLACE FUNCTION delete_early_events(
    p_namespace int, p_instance text, p_before bigint, p_limit int
) RETURNS int
LANGUAGE plpgsql VOLATILE @settings@ AS $$
DECLARE
    v_ids bigint[];
    v_count int;
BEGIN
    SELECT array_agg(l.number) INTO v_ids FROM (
        SELECT t.number FROM instances AS i JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        WHERE i.namespace = p_namespace AND i.status = 'Awaited'
          AND (p_instance IS NULL OR i.id = p_instance)
          AND EXISTS (
            SELECT FROM messages AS m
            WHERE m.instance = i.number AND (p_before IS NULL OR m.arrived_at < p_before))
        ORDER BY t.number LIMIT greatest(p_limit, 0)
        FOR UPDATE OF t
    ) AS l;
    WITH chosen AS (
        SELECT m.instance, m.id
        FROM unnest(v_ids) AS d(number)
        JOIN instances AS i ON i.number = ANY (ARRAY[d.number]) AND i.status = 'Awaited'
        JOIN messages AS m ON m.instance = ANY (ARRAY[d.number])
        WHERE p_before IS NULL OR m.arrived_at < p_before
        LIMIT greatest(p_limit, 0)
    ), gone AS (
        DELETE FROM messages AS m USING chosen AS c
        WHERE m.instance = ANY (ARRAY[c.instance]) AND m.id = c.id
        RETURNING m.instance
    )
    SELECT count(*) INTO v_count FROM gone;
    WITH empty AS (
        DELETE FROM instances AS i USING unnest(v_ids) AS d(number)
        WHERE i.number = ANY (ARRAY[d.number]) AND i.status = 'Awaited'
          AND NOT EXISTS (SELECT FROM messages AS m WHERE m.instance = d.number)
        RETURNING i.number
    )
    DELETE FROM turns AS t USING empty AS e WHERE t.number = ANY (ARRAY[e.number]);
    RETURN v_count;
END
$$;

-- Deletes a part of a namespace; returns whether anything may be left.
CREATE OR REPLACE FUNCTION delete_part_of_namespace(p_namespace int, p_rows int) RETURNS boolean
LANGUAGE plpgsql VOLATILE @settings@ AS $$
DECLARE
    v_numbers bigint[];
BEGIN
    SELECT array_agg(l.number) INTO v_numbers FROM (
        SELECT t.number FROM turns AS t
        WHERE t.number = ANY (ARRAY(
            SELECT i.number FROM instances AS i WHERE i.namespace = p_namespace LIMIT p_rows))
        ORDER BY t.number FOR UPDATE
    ) AS l;
    IF v_numbers IS NULL THEN
        DELETE FROM turn_queues AS q WHERE q.namespace = p_namespace;
        DELETE FROM activity_queues AS q WHERE q.namespace = p_namespace;
        RETURN false;
    END IF;
    PERFORM delete_instances(v_numbers);
    RETURN true;
END
$$;
