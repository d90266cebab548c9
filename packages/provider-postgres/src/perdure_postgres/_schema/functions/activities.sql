-- Queues of activities that a caller registers, or that it does not.
CREATE OR REPLACE FUNCTION find_activity_queues(p_namespace int, p jsonb, p_served boolean)
RETURNS int[]
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_served THEN
        RETURN ARRAY(
            SELECT q.number
            FROM jsonb_array_elements_text(p->'names') AS n(name)
            CROSS JOIN jsonb_array_elements_text(p->'tags') AS t(tag)
            JOIN activity_queues AS q
                ON q.namespace = p_namespace AND q.name = n.name AND q.tag = t.tag
        );
    END IF;
    RETURN ARRAY(
        SELECT q.number FROM activity_queues AS q
        WHERE q.namespace = p_namespace AND NOT (p->'names' ? q.name AND p->'tags' ? q.tag)
    );
END
$$;

CREATE OR REPLACE FUNCTION find_activities(
    p_queues int[], p_now bigint, p_from bigint, p_latest bigint, p_count int
)
RETURNS TABLE (instance bigint, id text, ready_at bigint, place bigint)
LANGUAGE sql STABLE AS $$
    SELECT c.instance, c.id, c.ready_at, c.place
    FROM unnest(p_queues) AS q(queue)
    CROSS JOIN LATERAL (
        (SELECT a.instance, a.id, a.ready_at, a.place FROM activities AS a
         WHERE a.queue = q.queue AND a.kind = 0 AND a.ready_at >= p_from AND (p_latest IS NULL OR a.ready_at <= p_latest)
         ORDER BY a.ready_at, a.place LIMIT p_count)
        UNION ALL
        (SELECT a.instance, a.id, a.ready_at, a.place FROM activities AS a
         WHERE a.queue = q.queue AND a.kind = 1 AND a.ready_at >= p_from AND a.ready_at <= coalesce(p_latest, p_now)
         ORDER BY a.ready_at, a.place LIMIT p_count)
        UNION ALL
        (SELECT a.instance, a.id, a.ready_at, a.place FROM activities AS a
         WHERE a.queue = q.queue AND a.kind = 2 AND a.ready_at >= p_from AND a.ready_at <= p_now
         ORDER BY a.ready_at, a.place LIMIT p_count)
        UNION ALL
        (SELECT a.instance, a.id, p_now, a.place FROM activities AS a
         WHERE a.queue = q.queue AND a.kind = 2 AND a.ready_at > p_now + @farthest@
         ORDER BY a.ready_at, a.place LIMIT p_count)
    ) AS c
    ORDER BY c.ready_at, c.place
    LIMIT p_count
$$;

-- Leases activities. Returns for each a row with its fields; and a row with `part` 9 that names those
-- which other transactions had locked, or with `part` 8 when there is nothing to lease, as `lease_turns`.
CREATE OR REPLACE FUNCTION lease_activities(p_namespace int, p_now bigint, p jsonb)
RETURNS TABLE (part int, fields jsonb, data bytea)
LANGUAGE plpgsql VOLATILE @hurried@ AS $$
#variable_conflict use_column
DECLARE
    v_token text := p->>'token';
    v_until bigint := (p->>'until')::bigint;
    v_limit int := (p->>'limit')::int;
    v_instances bigint[] := '{}';
    v_ids text[] := '{}';
    v_skipped jsonb := '[]';
    v_seen jsonb := '[]';
    v_found jsonb;
    v_locked jsonb;
    v_new_instances bigint[];
    v_new_ids text[];
    v_new_seen jsonb;
    v_from bigint := coalesce((p->>'from')::bigint, @beginning@);
    v_first bigint;
    v_live bigint;
    v_blocks bigint;
    v_queues int[];
    v_latest bigint;
    v_pass int;
BEGIN
    IF p ? 'relaxed' THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    IF p ? 'repeated' THEN
        SELECT coalesce(array_agg(l.instance), '{}'), coalesce(array_agg(l.id), '{}')
        INTO v_instances, v_ids
        FROM (
            SELECT a.instance, a.id FROM activities AS a
            JOIN instances AS i ON i.number = ANY (ARRAY[a.instance]) AND i.namespace = p_namespace
            WHERE a.token = v_token AND a.kind = 2
              AND a.held_until > p_now AND a.held_until <= p_now + @farthest@
            ORDER BY a.added_at, a.place LIMIT greatest(v_limit, 0)
            FOR UPDATE OF a
        ) AS l;
    END IF;
    FOR v_pass IN 1..2 LOOP
        EXIT WHEN v_pass = 2 AND (p->'latest' IS NULL OR p ? 'wait_for');
        v_queues := find_activity_queues(p_namespace, p, v_pass = 1);
        v_latest := CASE WHEN v_pass = 2 THEN (p->>'latest')::bigint END;
        IF v_pass = 2 THEN
            -- An activity of the same queue with a lease in force: a runtime has it, and is busy (ACT-24).
            v_queues := ARRAY(
                SELECT q.queue FROM unnest(v_queues) AS q(queue)
                WHERE NOT EXISTS (
                    SELECT FROM activities AS a
                    WHERE a.queue = q.queue AND a.kind = 2 AND a.token IS NOT NULL
                      AND a.held_until > p_now AND a.held_until <= p_now + @farthest@
                )
            );
        END IF;
        LOOP
            EXIT WHEN cardinality(v_ids) >= v_limit;
            IF p ? 'wait_for' THEN
                v_found := p->'wait_for';
                PERFORM a.id
                FROM jsonb_array_elements(v_found) AS f(key)
                JOIN activities AS a
                    ON a.instance = ANY (ARRAY[(f.key->>0)::bigint]) AND a.id = f.key->>1
                ORDER BY (f.key->>0)::bigint, f.key->>1 COLLATE "C" FOR UPDATE OF a;
                v_locked := v_found;
            ELSE
                v_blocks := pg_stat_get_xact_blocks_fetched('activities'::regclass);
                SELECT jsonb_agg(f.key), min(f.ready_at) INTO v_found, v_first FROM (
                    SELECT jsonb_build_array(f.instance, f.id) AS key, f.ready_at
                    FROM find_activities(
                        v_queues, p_now, CASE v_pass WHEN 1 THEN v_from ELSE @beginning@ END,
                        v_latest,
                        v_limit - cardinality(v_ids) + jsonb_array_length(v_skipped)
                            + jsonb_array_length(v_seen)
                    ) AS f
                    WHERE NOT v_skipped @> jsonb_build_array(jsonb_build_array(f.instance, f.id))
                      AND NOT v_seen @> jsonb_build_array(jsonb_build_array(f.instance, f.id))
                    ORDER BY f.ready_at, f.place
                    LIMIT v_limit - cardinality(v_ids)
                ) AS f;
                IF v_pass = 1 AND v_live IS NULL
                   AND pg_stat_get_xact_blocks_fetched('activities'::regclass) - v_blocks
                       > 100 + 4 * coalesce(jsonb_array_length(v_found), 0) THEN
                    v_live := coalesce(least(v_first, p_now), p_now) - 1000000;
                END IF;
                EXIT WHEN v_found IS NULL;
                SELECT coalesce(jsonb_agg(l.key), '[]') INTO v_locked FROM (
                    SELECT f.key
                    FROM jsonb_array_elements(v_found) AS f(key)
                    JOIN activities AS a
                        ON a.instance = ANY (ARRAY[(f.key->>0)::bigint]) AND a.id = f.key->>1
                    FOR UPDATE OF a SKIP LOCKED
                ) AS l;
                IF jsonb_array_length(v_locked) < jsonb_array_length(v_found) THEN
                    SELECT v_skipped || coalesce(jsonb_agg(f.key), '[]') INTO v_skipped
                    FROM jsonb_array_elements(v_found) AS f(key)
                    WHERE NOT v_locked @> jsonb_build_array(f.key);
                END IF;
            END IF;
            WITH judged AS (
                SELECT a.instance, a.id, l.place, j.verdict, j.since
                FROM jsonb_array_elements(v_locked) WITH ORDINALITY AS l(key, place)
                JOIN activities AS a
                    ON a.instance = ANY (ARRAY[(l.key->>0)::bigint]) AND a.id = l.key->>1
                CROSS JOIN LATERAL (
                    SELECT CASE
                        WHEN a.held_until > p_now AND a.held_until <= p_now + @farthest@ THEN 'held'
                        WHEN a.visible_at > p_now THEN 'later'
                        WHEN h.since > v_latest THEN 'young'
                        WHEN NOT a.queue = ANY (v_queues) THEN 'other'
                        ELSE 'ready'
                    END AS verdict, h.since
                    FROM (SELECT greatest(coalesce(a.visible_at, a.added_at), a.released_at) AS since) AS h
                ) AS j
            ), changed AS (
                UPDATE activities AS a
                SET delivery = a.delivery + (j.verdict = 'ready')::int,
                    taken_from = CASE WHEN j.verdict = 'ready'
                                      THEN coalesce(a.token, a.taken_from) ELSE a.taken_from END,
                    token = CASE WHEN j.verdict = 'ready' THEN v_token ELSE a.token END,
                    held_until = CASE WHEN j.verdict = 'ready' THEN v_until ELSE a.held_until END,
                    kind = CASE j.verdict WHEN 'later' THEN 1 WHEN 'young' THEN 0 ELSE 2 END,
                    ready_at = CASE j.verdict WHEN 'later' THEN a.visible_at WHEN 'young' THEN j.since
                                              WHEN 'held' THEN a.held_until ELSE v_until END
                FROM judged AS j
                WHERE a.instance = ANY (ARRAY[j.instance]) AND a.id = j.id AND j.verdict <> 'other'
                RETURNING a.instance, a.id, j.verdict, j.place
            )
            SELECT array_agg(c.instance ORDER BY c.place) FILTER (WHERE c.verdict = 'ready'),
                   array_agg(c.id ORDER BY c.place) FILTER (WHERE c.verdict = 'ready'),
                   jsonb_agg(jsonb_build_array(c.instance, c.id)) FILTER (WHERE c.verdict = 'young')
            INTO v_new_instances, v_new_ids, v_new_seen
            FROM changed AS c;
            v_instances := v_instances || coalesce(v_new_instances, '{}');
            v_ids := v_ids || coalesce(v_new_ids, '{}');
            v_seen := v_seen || coalesce(v_new_seen, '[]');
            EXIT WHEN p ? 'wait_for';
        END LOOP;
    END LOOP;
    IF jsonb_array_length(v_skipped) > 0 AND cardinality(v_ids) < v_limit THEN
        RETURN QUERY SELECT 9, v_skipped, NULL::bytea;
    END IF;
    IF v_live IS NOT NULL THEN
        p := p || jsonb_build_object('from', v_live);
        RETURN QUERY SELECT 7, to_jsonb(v_live), NULL::bytea;
    END IF;
    IF cardinality(v_ids) = 0 THEN
        RETURN QUERY SELECT 8, to_jsonb(next_activity(p_namespace, p_now, p)), NULL::bytea;
    END IF;
    RETURN QUERY
        SELECT 0,
               jsonb_build_object(
                   'instance', i.id, 'incarnation', i.incarnation, 'execution', i.execution,
                   'id', a.id, 'name', q.name, 'tag', q.tag, 'until', a.held_until,
                   'delivery', a.delivery, 'added_at', a.added_at),
               a.data
        FROM unnest(v_instances, v_ids) WITH ORDINALITY AS l(instance, id, place)
        JOIN activities AS a ON a.instance = ANY (ARRAY[l.instance]) AND a.id = l.id
        JOIN instances AS i ON i.number = ANY (ARRAY[a.instance])
        JOIN activity_queues AS q ON q.number = a.queue
        ORDER BY l.place;
END
$$;

-- Gives leases of activities back, as `release_turns` does for turns (ACT-11 to ACT-13, ACT-23). Returns
-- the instances that were marked as parked.
CREATE OR REPLACE FUNCTION release_activities(p_namespace int, p_now bigint, p jsonb) RETURNS text[]
LANGUAGE plpgsql VOLATILE @hurried@ AS $$
DECLARE
    v_parked text[];
BEGIN
    PERFORM t.number
    FROM jsonb_to_recordset(p) AS r(instance text, reason text)
    JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
    JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
    WHERE r.reason IS NOT NULL
    ORDER BY i.number FOR UPDATE OF t;
    PERFORM a.id
    FROM jsonb_to_recordset(p) AS r(instance text, id text)
    JOIN LATERAL with_key(p_namespace, r.instance, r.id) AS k ON true
    JOIN activities AS a ON a.instance = ANY (ARRAY[k.number]) AND a.id = k.id
    ORDER BY k.number, k.id COLLATE "C" FOR UPDATE OF a;
    WITH marked AS (
        UPDATE turns AS t
        SET parked_reason = r.reason, parked_details = r.details,
            parked_since = CASE WHEN t.parked_reason = r.reason THEN t.parked_since ELSE p_now END
        FROM jsonb_to_recordset(p) AS r(
            instance text, id text, token text, reason text, details text
        )
        JOIN LATERAL with_key(p_namespace, r.instance, r.id) AS k ON true
        JOIN activities AS a
            ON a.instance = ANY (ARRAY[k.number]) AND a.id = k.id AND a.token = r.token
        WHERE r.reason IS NOT NULL AND t.number = ANY (ARRAY[k.number])
        RETURNING r.instance
    )
    SELECT array_agg(m.instance) INTO v_parked FROM marked AS m;
    UPDATE activities AS a
    SET delivery = a.delivery - (NOT r.counted)::int,
        token = CASE WHEN a.token = r.token THEN NULL ELSE a.token END,
        held_until = CASE WHEN a.token = r.token THEN r.delay ELSE a.held_until END,
        released_at = CASE WHEN a.token = r.token THEN p_now ELSE a.released_at END,
        taken_from = CASE WHEN a.token = r.token THEN a.taken_from END,
        kind = CASE WHEN a.token IS DISTINCT FROM r.token THEN a.kind
                    WHEN r.delay IS NOT NULL THEN 2
                    WHEN a.visible_at > p_now THEN 1 ELSE 0 END,
        ready_at = CASE WHEN a.token IS DISTINCT FROM r.token THEN a.ready_at
                        WHEN r.delay IS NOT NULL THEN r.delay
                        WHEN a.visible_at > p_now THEN a.visible_at ELSE p_now END
    FROM jsonb_to_recordset(p) AS r(
        instance text, id text, token text, delay bigint, counted boolean
    )
    JOIN LATERAL with_key(p_namespace, r.instance, r.id) AS k ON true
    WHERE a.instance = ANY (ARRAY[k.number]) AND a.id = k.id
      AND (a.token = r.token OR (NOT r.counted AND a.taken_from = r.token));
    RETURN v_parked;
END
$$;

CREATE OR REPLACE FUNCTION renew_activities(p_namespace int, p_until bigint, p jsonb) RETURNS int[]
LANGUAGE plpgsql VOLATILE @hurried@ AS $$
DECLARE
    v_gone int[];
BEGIN
    PERFORM a.id
    FROM jsonb_to_recordset(p) AS r(instance text, id text)
    JOIN LATERAL with_key(p_namespace, r.instance, r.id) AS k ON true
    JOIN activities AS a ON a.instance = ANY (ARRAY[k.number]) AND a.id = k.id
    ORDER BY k.number, k.id COLLATE "C" FOR UPDATE OF a;
    WITH renewed AS (
        UPDATE activities AS a
        SET held_until = p_until, kind = 2,
            ready_at = CASE WHEN a.kind = 2 THEN least(a.ready_at, p_until) ELSE p_until END
        FROM jsonb_to_recordset(p) AS r(o int, instance text, id text, token text)
        JOIN LATERAL with_key(p_namespace, r.instance, r.id) AS k ON true
        WHERE a.instance = ANY (ARRAY[k.number]) AND a.id = k.id AND a.token = r.token
        RETURNING r.instance, r.id, r.token
    )
    SELECT array_agg(r.o) INTO v_gone
    FROM jsonb_to_recordset(p) AS r(o int, instance text, id text, token text)
    WHERE NOT EXISTS (
        SELECT FROM renewed AS n
        WHERE n.instance = r.instance AND n.id = r.id AND n.token = r.token
    );
    RETURN v_gone;
END
$$;

-- The places of the leases that are gone; extends none.
CREATE OR REPLACE FUNCTION find_gone_activities(p_namespace int, p jsonb) RETURNS int[]
LANGUAGE sql STABLE @settings@ AS $$
    SELECT array_agg(r.o)
    FROM jsonb_to_recordset(p) AS r(o int, instance text, id text, token text)
    WHERE NOT EXISTS (
        SELECT FROM find_instance(p_namespace, r.instance) AS i
        JOIN activities AS a ON a.instance = ANY (ARRAY[i.number])
        WHERE a.id = r.id AND a.token = r.token
    )
$$;

CREATE OR REPLACE FUNCTION next_activity(p_namespace int, p_now bigint, p jsonb) RETURNS bigint
LANGUAGE plpgsql STABLE @settings@ AS $$
BEGIN
    RETURN (
        SELECT min(h.at)
        FROM (SELECT coalesce((p->>'from')::bigint, @beginning@) AS bound) AS f
        CROSS JOIN unnest(find_activity_queues(p_namespace, p, true)) AS q(queue)
        CROSS JOIN LATERAL (
            SELECT min(c.at) AS at FROM (
                (SELECT 0::bigint AS at FROM activities AS a
                 WHERE a.queue = q.queue AND a.kind = 0 AND a.ready_at >= f.bound LIMIT 1)
                UNION ALL
                (SELECT a.ready_at FROM activities AS a
                 WHERE a.queue = q.queue AND a.kind = 1 AND a.ready_at >= f.bound ORDER BY a.ready_at LIMIT 1)
                UNION ALL
                (SELECT a.ready_at FROM activities AS a
                 WHERE a.queue = q.queue AND a.kind = 2 AND a.ready_at >= f.bound ORDER BY a.ready_at LIMIT 1)
                UNION ALL
                (SELECT 0::bigint FROM activities AS a
                 WHERE a.queue = q.queue AND a.kind = 2 AND a.ready_at > p_now + @farthest@ LIMIT 1)
            ) AS c
        ) AS h
    );
END
$$;
