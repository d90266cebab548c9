-- The plain fields of an instance.
CREATE OR REPLACE FUNCTION plain_fields(i instances, t turns) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'instance', i.id, 'incarnation', i.incarnation, 'name', i.name, 'version', i.version,
        'engine', i.engine, 'execution', i.execution, 'last_event', t.last_event,
        'last_commit', t.last_commit, 'status', i.status, 'created_at', i.created_at,
        'updated_at', t.updated_at, 'custom_status_version', t.custom_status_version,
        'value_count', t.value_count, 'labels', i.labels,
        'parked', CASE WHEN t.parked_reason IS NOT NULL THEN
            jsonb_build_array(t.parked_reason, t.parked_details, t.parked_since) END,
        'parent', CASE WHEN i.parent_instance IS NOT NULL THEN jsonb_build_array(
            i.parent_instance, i.parent_incarnation, i.parent_execution, i.parent_event) END
    )
$$;

-- Queues of orchestrations that a caller registers, or that it does not but whose engine it has.
CREATE OR REPLACE FUNCTION find_turn_queues(p_namespace int, p jsonb, p_served boolean) RETURNS int[]
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_served THEN
        RETURN ARRAY(
            SELECT q.number
            FROM jsonb_to_recordset(p->'serves') AS s(name text, pin text)
            JOIN turn_queues AS q
                ON q.namespace = p_namespace AND q.name = s.name AND q.pin = s.pin
            WHERE q.engine <= (p->>'engine')::int
        );
    END IF;
    RETURN ARRAY(
        SELECT q.number
        FROM turn_queues AS q
        WHERE q.namespace = p_namespace AND q.engine <= (p->>'engine')::int
          AND NOT EXISTS (
            SELECT FROM jsonb_to_recordset(p->'serves') AS s(name text, pin text)
            WHERE s.name = q.name AND s.pin = q.pin
        )
    );
END
$$;

-- Turns that can perhaps be leased, the longest ready first; those from `p_from` on.
CREATE OR REPLACE FUNCTION find_turns(
    p_queues int[], p_now bigint, p_from bigint, p_latest bigint, p_count int
)
RETURNS TABLE (number bigint, ready_at bigint)
LANGUAGE sql STABLE AS $$
    SELECT c.number, c.ready_at
    FROM unnest(p_queues) AS q(queue)
    CROSS JOIN LATERAL (
        (SELECT t.number, t.ready_at FROM turns AS t
         WHERE t.queue = q.queue AND t.kind = 0 AND t.ready_at >= p_from AND (p_latest IS NULL OR t.ready_at <= p_latest)
         ORDER BY t.ready_at LIMIT p_count)
        UNION ALL
        (SELECT t.number, t.ready_at FROM turns AS t
         WHERE t.queue = q.queue AND t.kind = 1 AND t.ready_at >= p_from AND t.ready_at <= coalesce(p_latest, p_now)
         ORDER BY t.ready_at LIMIT p_count)
        UNION ALL
        (SELECT t.number, t.ready_at FROM turns AS t
         WHERE t.queue = q.queue AND t.kind = 2 AND t.ready_at >= p_from AND t.ready_at <= p_now
         ORDER BY t.ready_at LIMIT p_count)
        UNION ALL
        (SELECT t.number, p_now FROM turns AS t
         WHERE t.queue = q.queue AND t.kind = 2 AND t.ready_at > p_now + @farthest@
         ORDER BY t.ready_at LIMIT p_count)
    ) AS c
    ORDER BY c.ready_at
    LIMIT p_count
$$;

-- Leases turns. Returns for each a row with `part` 0 and the plain fields, and its delivery; and a row
-- with `part` 9 that names the turns which other transactions had locked: the caller asks for these
-- again, as `wait_for`, and waits until they are free. If there is nothing to lease, a row with `part` 8
-- tells when to look again, so that the caller need not ask. If the look touched many pages, a row with
-- `part` 7 tells where live rows begin: a second before the first one, or before now. The caller gives
-- that as `from` next time.
CREATE OR REPLACE FUNCTION lease_turns(p_namespace int, p_now bigint, p jsonb)
RETURNS TABLE (item bigint, part int, fields jsonb, data bytea)
LANGUAGE plpgsql VOLATILE @hurried@ AS $$
#variable_conflict use_column
DECLARE
    v_token text := p->>'token';
    v_until bigint := (p->>'until')::bigint;
    v_limit int := (p->>'limit')::int;
    v_leased bigint[] := '{}';
    v_skipped bigint[] := '{}';
    v_found bigint[];
    v_locked bigint[];
    v_granted bigint[];
    v_young bigint[] := '{}';
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
        -- What the token has already, perhaps from a call whose answer was lost.
        SELECT coalesce(array_agg(l.number), '{}') INTO v_leased FROM (
            SELECT t.number FROM turns AS t
            JOIN instances AS i ON i.number = ANY (ARRAY[t.number]) AND i.namespace = p_namespace
            WHERE t.token = v_token AND t.kind = 2
              AND t.held_until > p_now AND t.held_until <= p_now + @farthest@
              AND i.status = 'Running'
            ORDER BY t.number LIMIT greatest(v_limit, 0)
            FOR UPDATE OF t
        ) AS l;
    END IF;
    FOR v_pass IN 1..2 LOOP
        EXIT WHEN v_pass = 2 AND (p->'latest' IS NULL OR p ? 'wait_for');
        v_queues := find_turn_queues(p_namespace, p, v_pass = 1);
        v_latest := CASE WHEN v_pass = 2 THEN (p->>'latest')::bigint END;
        LOOP
            EXIT WHEN cardinality(v_leased) >= v_limit;
            IF p ? 'wait_for' THEN
                SELECT array_agg(w.number::bigint) INTO v_found
                FROM jsonb_array_elements_text(p->'wait_for') AS w(number);
                PERFORM t.number FROM turns AS t
                WHERE t.number = ANY (v_found) ORDER BY t.number FOR UPDATE;
                v_locked := v_found;
            ELSE
                v_blocks := pg_stat_get_xact_blocks_fetched('turns'::regclass);
                SELECT array_agg(f.number), min(f.ready_at) INTO v_found, v_first FROM (
                    SELECT f.number, f.ready_at FROM find_turns(
                        v_queues, p_now, CASE v_pass WHEN 1 THEN v_from ELSE @beginning@ END,
                        v_latest,
                        v_limit - cardinality(v_leased) + cardinality(v_skipped)
                            + cardinality(v_young)
                    ) AS f
                    WHERE f.number <> ALL (v_skipped) AND f.number <> ALL (v_young)
                    ORDER BY f.ready_at
                    LIMIT v_limit - cardinality(v_leased)
                ) AS f;
                IF v_pass = 1 AND v_live IS NULL
                   AND pg_stat_get_xact_blocks_fetched('turns'::regclass) - v_blocks
                       > 100 + 4 * coalesce(cardinality(v_found), 0) THEN
                    v_live := coalesce(least(v_first, p_now), p_now) - 1000000;
                END IF;
                EXIT WHEN v_found IS NULL;
                SELECT coalesce(array_agg(l.number), '{}') INTO v_locked FROM (
                    SELECT t.number FROM turns AS t
                    WHERE t.number = ANY (v_found) FOR UPDATE SKIP LOCKED
                ) AS l;
                v_skipped := v_skipped || ARRAY(
                    SELECT f.number FROM unnest(v_found) AS f(number)
                    WHERE f.number <> ALL (v_locked)
                );
            END IF;
            WITH judged AS (
                SELECT t.number, j.*
                FROM unnest(v_locked) AS l(number)
                JOIN turns AS t ON t.number = ANY (ARRAY[l.number])
                JOIN instances AS i ON i.number = ANY (ARRAY[t.number])
                CROSS JOIN LATERAL mailbox_times(t.number, p_now) AS m
                CROSS JOIN LATERAL (
                    SELECT t.held_until > p_now AND t.held_until <= p_now + @farthest@ AS is_held,
                           greatest(m.since, t.released_at) AS since
                ) AS h
                CROSS JOIN LATERAL (
                    SELECT CASE
                        WHEN i.status IN ('Completed', 'Failed', 'Awaited') THEN 'over'
                        -- A damaged one is passed over for as long as a lease.
                        WHEN i.status <> 'Running' THEN 'damaged'
                        WHEN h.is_held THEN 'held'
                        WHEN m.since IS NULL AND m.next IS NULL THEN 'over'
                        WHEN m.since IS NULL THEN 'later'
                        WHEN h.since > v_latest THEN 'young'
                        WHEN NOT t.queue = ANY (v_queues) THEN 'other'
                        ELSE 'ready'
                    END AS verdict, h.since, m.next
                ) AS j
            ), changed AS (
                UPDATE turns AS t
                SET attempt = t.attempt + (j.verdict = 'ready')::int,
                    taken_from = CASE WHEN j.verdict = 'ready'
                                      THEN coalesce(t.token, t.taken_from) ELSE t.taken_from END,
                    token = CASE WHEN j.verdict = 'ready' THEN v_token ELSE t.token END,
                    held_until = CASE WHEN j.verdict = 'ready' THEN v_until ELSE t.held_until END,
                    kind = CASE j.verdict WHEN 'over' THEN NULL WHEN 'later' THEN 1
                                          WHEN 'young' THEN 0 ELSE 2 END,
                    ready_at = CASE j.verdict WHEN 'over' THEN NULL WHEN 'later' THEN j.next
                                              WHEN 'young' THEN j.since
                                              WHEN 'held' THEN t.held_until ELSE v_until END
                FROM judged AS j
                WHERE t.number = ANY (ARRAY[j.number]) AND j.verdict <> 'other'
                RETURNING t.number, j.verdict
            )
            SELECT array_agg(c.number) FILTER (WHERE c.verdict = 'ready'),
                   v_young || coalesce(
                       array_agg(c.number) FILTER (WHERE c.verdict = 'young'), '{}')
            INTO v_granted, v_young
            FROM changed AS c;
            v_leased := v_leased || coalesce(v_granted, '{}');
            EXIT WHEN p ? 'wait_for';
        END LOOP;
    END LOOP;
    IF cardinality(v_skipped) > 0 AND cardinality(v_leased) < v_limit THEN
        RETURN QUERY SELECT 0::bigint, 9, to_jsonb(v_skipped), NULL::bytea;
    END IF;
    IF v_live IS NOT NULL THEN
        p := p || jsonb_build_object('from', v_live);
        RETURN QUERY SELECT 0::bigint, 7, to_jsonb(v_live), NULL::bytea;
    END IF;
    IF cardinality(v_leased) = 0 THEN
        RETURN QUERY SELECT 0::bigint, 8, to_jsonb(next_turn(p_namespace, p_now, p)), NULL::bytea;
    END IF;
    RETURN QUERY
        SELECT t.number, 0,
               plain_fields(i, t)
                   || jsonb_build_object('attempt', t.attempt, 'until', t.held_until),
               s.data
        FROM unnest(v_leased) WITH ORDINALITY AS l(number, place)
        JOIN turns AS t ON t.number = ANY (ARRAY[l.number])
        JOIN instances AS i ON i.number = ANY (ARRAY[l.number])
        LEFT JOIN custom_statuses AS s
            ON t.custom_status_version > 0 AND s.instance = ANY (ARRAY[l.number])
        ORDER BY l.place;
    RETURN QUERY
        SELECT t.number, d.part, d.fields, d.data
        FROM unnest(v_leased) AS l(number)
        JOIN turns AS t ON t.number = ANY (ARRAY[l.number])
        CROSS JOIN LATERAL deliver(t.number, p_now, t.stamp, NULL) AS d;
END
$$;

-- Gives leases of turns back; `delay` is the end of the delay. An uncounted release of a lease that was
-- taken over lowers the count (LEASE-21).
CREATE OR REPLACE FUNCTION release_turns(p_namespace int, p_now bigint, p jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE @hurried@ AS $$
BEGIN
    PERFORM t.number
    FROM jsonb_to_recordset(p) AS r(instance text)
    JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
    JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
    ORDER BY i.number FOR UPDATE OF t;
    UPDATE turns AS t
    SET attempt = t.attempt - (NOT r.counted)::int,
        token = CASE WHEN t.token = r.token THEN NULL ELSE t.token END,
        held_until = CASE WHEN t.token = r.token THEN r.delay ELSE t.held_until END,
        released_at = CASE WHEN t.token = r.token THEN p_now ELSE t.released_at END,
        taken_from = CASE WHEN t.token = r.token THEN t.taken_from END,
        kind = CASE WHEN t.token IS DISTINCT FROM r.token THEN t.kind
                    WHEN r.delay IS NOT NULL THEN 2
                    WHEN m.since IS NOT NULL THEN 0 WHEN m.next IS NOT NULL THEN 1 END,
        ready_at = CASE WHEN t.token IS DISTINCT FROM r.token THEN t.ready_at
                        WHEN r.delay IS NOT NULL THEN r.delay
                        WHEN m.since IS NOT NULL THEN p_now ELSE m.next END,
        parked_reason = CASE WHEN k.parks THEN r.reason ELSE t.parked_reason END,
        parked_details = CASE WHEN k.parks THEN r.details ELSE t.parked_details END,
        parked_since = CASE WHEN k.parks AND t.parked_reason IS DISTINCT FROM r.reason THEN p_now
                            ELSE t.parked_since END
    FROM jsonb_to_recordset(p) AS r(
        instance text, token text, delay bigint, counted boolean, reason text, details text
    )
    JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
    JOIN turns AS o ON o.number = ANY (ARRAY[i.number])
    CROSS JOIN LATERAL (
        SELECT r.reason IS NOT NULL AND o.token = r.token AS parks
    ) AS k
    CROSS JOIN LATERAL mailbox_times(i.number, p_now) AS m
    WHERE t.number = ANY (ARRAY[i.number])
      AND (t.token = r.token OR (NOT r.counted AND t.taken_from = r.token));
END
$$;

-- Extends the leases that stand; returns the places of the others.
CREATE OR REPLACE FUNCTION renew_turns(p_namespace int, p_until bigint, p jsonb) RETURNS int[]
LANGUAGE plpgsql VOLATILE @hurried@ AS $$
DECLARE
    v_gone int[];
BEGIN
    PERFORM t.number
    FROM jsonb_to_recordset(p) AS r(instance text)
    JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
    JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
    ORDER BY i.number FOR UPDATE OF t;
    WITH renewed AS (
        UPDATE turns AS t
        SET held_until = p_until,
            kind = 2,
            -- A lease that ends later stays where it is in the index.
            ready_at = CASE WHEN t.kind = 2 THEN least(t.ready_at, p_until) ELSE p_until END
        FROM jsonb_to_recordset(p) AS r(instance text, token text)
        JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON i.status = 'Running'
        WHERE t.number = ANY (ARRAY[i.number]) AND t.token = r.token
        RETURNING r.instance, r.token
    )
    SELECT array_agg(r.o) INTO v_gone
    FROM jsonb_to_recordset(p) AS r(o int, instance text, token text)
    WHERE NOT EXISTS (
        SELECT FROM renewed AS n WHERE n.instance = r.instance AND n.token = r.token
    );
    RETURN v_gone;
END
$$;

-- When there is something to look at for a caller, from `from` on: the first instant, or NULL.
CREATE OR REPLACE FUNCTION next_turn(p_namespace int, p_now bigint, p jsonb) RETURNS bigint
LANGUAGE plpgsql STABLE @settings@ AS $$
BEGIN
    RETURN (
        SELECT min(h.at)
        FROM (SELECT coalesce((p->>'from')::bigint, @beginning@) AS bound) AS f
        CROSS JOIN unnest(find_turn_queues(p_namespace, p, true)) AS q(queue)
        CROSS JOIN LATERAL (
            SELECT min(c.at) AS at FROM (
                (SELECT 0::bigint AS at FROM turns AS t
                 WHERE t.queue = q.queue AND t.kind = 0 AND t.ready_at >= f.bound LIMIT 1)
                UNION ALL
                (SELECT t.ready_at FROM turns AS t
                 WHERE t.queue = q.queue AND t.kind = 1 AND t.ready_at >= f.bound ORDER BY t.ready_at LIMIT 1)
                UNION ALL
                (SELECT t.ready_at FROM turns AS t
                 WHERE t.queue = q.queue AND t.kind = 2 AND t.ready_at >= f.bound ORDER BY t.ready_at LIMIT 1)
                UNION ALL
                (SELECT 0::bigint FROM turns AS t
                 WHERE t.queue = q.queue AND t.kind = 2 AND t.ready_at > p_now + @farthest@ LIMIT 1)
            ) AS c
        ) AS h
    );
END
$$;
