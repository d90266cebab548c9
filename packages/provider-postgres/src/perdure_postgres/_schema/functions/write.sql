-- Carries out a group of writes in one transaction: creations, sends, commits of turns, completions
-- of activities, reopenings and terminations. Each is judged first, under the locks of the instances
-- that the group touches, and a refused one changes nothing. The caller makes the group so that no
-- two of its writes could affect each other's judgement; the order of the steps below therefore gives
-- what the writes would give one after the other.
--
-- `p` names every write (`items`) and every change that they make, each with the number of its write
-- (`i`). Payloads are in `p_data`, named by their place in it (`d`).
CREATE OR REPLACE FUNCTION write(p_namespace int, p_now bigint, p jsonb, p_data bytea[])
RETURNS TABLE (item int, part int, fields jsonb, data bytea)
LANGUAGE plpgsql VOLATILE @settings@ AS $$
#variable_conflict use_column
DECLARE
    v_locked bigint[];
    v_found bigint[];
    v_verdict text[];      -- of each write: 'ok', 'repeat', or why it is refused
    v_lost jsonb[];
    v_own bigint[];        -- the instance of each accepted write that changes its own, else 0
    v_of bigint[];         -- the instance of each write, whatever its verdict
    v_execution int[];
    v_event int[];
    v_ended text[];        -- how the current execution of each accepted write ends, or ''
    v_goes_on boolean[];   -- whether another execution begins
    v_continues boolean := false;
    v_ends boolean := false;
    v_created bigint[] := '{}';
    v_in_use text[] := '{}';
    v_pending jsonb;
    v_left jsonb;
    v_replaced bigint[];
    v_put bigint[];
    v_count bigint[];
    v_since bigint[];
    v_next bigint[];
    v_delayed bigint[];
    v_rows bigint;
BEGIN
    IF p ? 'relaxed' THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    IF p ? 'hurried' THEN
        -- Others wait for this group: it leaves a row soon that another transaction holds.
        PERFORM set_config('lock_timeout', '250ms', true);
    END IF;

    -- 1. Lock the instances, in the order of their numbers, so that two groups never wait for each
    -- other. One that another transaction has created meanwhile, perhaps in place of another, is locked
    -- next time; what is locked cannot be deleted.
    LOOP
        SELECT array_agg(l.number) INTO v_locked FROM (
            SELECT t.number
            FROM jsonb_array_elements_text(p->'ids') AS w(id)
            JOIN LATERAL find_instance(p_namespace, w.id) AS i ON true
            JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
            ORDER BY i.number
            FOR UPDATE OF t
        ) AS l;
        EXIT WHEN cardinality(v_locked) = jsonb_array_length(p->'ids');
        SELECT array_agg(i.number) INTO v_found
        FROM jsonb_array_elements_text(p->'ids') AS w(id)
        JOIN LATERAL find_instance(p_namespace, w.id) AS i ON true;
        EXIT WHEN v_found IS NULL OR v_found <@ v_locked;
    END LOOP;
    IF p ? 'finish' THEN
        PERFORM a.id
        FROM jsonb_to_recordset(p->'finish') AS f(i int, instance text, id text)
        JOIN LATERAL with_key(p_namespace, f.instance, f.id) AS k ON true
        JOIN activities AS a ON a.instance = ANY (ARRAY[k.number]) AND a.id = k.id
        ORDER BY k.number, k.id COLLATE "C"
        FOR UPDATE OF a;
    END IF;

    -- 2. Judge each write.
    SELECT array_agg(j.verdict ORDER BY j.i),
           array_agg(j.lost ORDER BY j.i),
           array_agg(CASE WHEN j.verdict = 'ok' THEN j.number ELSE 0 END ORDER BY j.i),
           array_agg(coalesce(j.number, 0) ORDER BY j.i),
           array_agg(coalesce(j.execution, 0) ORDER BY j.i),
           array_agg(coalesce(j.last_event, 0) ORDER BY j.i),
           array_agg(CASE WHEN j.verdict <> 'ok' THEN ''
                          WHEN j.kind = 'reopen' AND j.status = 'Running' THEN 'ContinuedAsNew'
                          ELSE coalesce(j.ending, '') END ORDER BY j.i),
           array_agg(j.verdict = 'ok'
                     AND (j.kind = 'reopen' OR coalesce(j.ending, '') = 'ContinuedAsNew')
                     ORDER BY j.i)
    INTO v_verdict, v_lost, v_own, v_of, v_execution, v_event, v_ended, v_goes_on
    FROM (
        SELECT c.i, c.kind, c.ending, l.lost, i.status, t.last_event,
               CASE WHEN i.incarnation = c.incarnation OR c.incarnation IS NULL
                    THEN i.number END AS number,
               i.execution,
               CASE
                   WHEN c.kind IN ('send', 'create') THEN 'ok'
                   WHEN c.kind = 'complete' THEN
                       CASE WHEN i.number IS NULL OR l.lost IS NOT NULL THEN 'activities' ELSE 'ok' END
                   WHEN i.number IS NULL OR i.incarnation <> c.incarnation THEN
                       CASE c.kind WHEN 'commit' THEN 'lease' ELSE 'missing' END
                   WHEN i.status NOT IN ('Running', 'Completed', 'Failed') THEN 'spoiled'
                   WHEN t.last_commit = c.id THEN 'repeat'
                   WHEN c.kind = 'reopen' THEN
                       CASE WHEN i.execution <> c.execution THEN 'history' ELSE 'ok' END
                   WHEN c.kind = 'terminate' THEN
                       CASE WHEN i.status <> 'Running' THEN 'ended' ELSE 'ok' END
                   WHEN t.token IS DISTINCT FROM c.token OR i.status <> 'Running' THEN 'lease'
                   WHEN (i.execution, t.last_event) <> (c.execution, c.expected) THEN 'history'
                   WHEN l.lost IS NOT NULL THEN 'activities'
                   ELSE 'ok'
               END AS verdict
        FROM jsonb_to_recordset(p->'items') AS c(
            i int, kind text, instance text, incarnation text, id text, token text,
            execution int, expected int, finish jsonb, ending text
        )
        LEFT JOIN LATERAL find_instance(p_namespace, c.instance) AS i ON i.status <> 'Awaited'
        LEFT JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        LEFT JOIN LATERAL (
            SELECT jsonb_agg(f.lease->0) AS lost
            FROM jsonb_array_elements(c.finish) AS f(lease)
            WHERE NOT EXISTS (
                SELECT FROM activities AS a
                WHERE a.instance = i.number AND a.id = f.lease->>0 AND a.token = f.lease->>1
            )
        ) AS l ON true
    ) AS j;

    -- 3. The histories, and what the writes take away.
    IF p ? 'events' THEN
        INSERT INTO events (instance, execution, number, count, data)
        SELECT v_own[e.i], v_execution[e.i], v_event[e.i] + e.n, coalesce(e.c, 1), p_data[e.d]
        FROM jsonb_to_recordset(p->'events') AS e(i int, n int, c int, d int)
        WHERE v_own[e.i] > 0;
    END IF;
    IF p ? 'packed' THEN
        DELETE FROM events AS e
        USING jsonb_to_recordset(p->'packed') AS h(i int)
        WHERE v_own[h.i] > 0 AND e.instance = ANY (ARRAY[v_own[h.i]])
          AND e.execution = v_execution[h.i];
    END IF;
    IF p ? 'remove' THEN
        DELETE FROM messages AS m
        USING jsonb_to_recordset(p->'remove') AS r(i int, id text)
        WHERE v_own[r.i] > 0 AND m.instance = ANY (ARRAY[v_own[r.i]]) AND m.id = r.id;
    END IF;
    IF p ? 'drop' THEN
        DELETE FROM activities AS a
        USING jsonb_to_recordset(p->'drop') AS r(i int, id text)
        WHERE v_own[r.i] > 0 AND a.instance = ANY (ARRAY[v_own[r.i]]) AND a.id = r.id;
    END IF;
    IF p ? 'values' THEN
        DELETE FROM instance_values AS v
        USING jsonb_to_recordset(p->'values') AS r(i int, key text)
        WHERE v_own[r.i] > 0 AND v.instance = ANY (ARRAY[v_own[r.i]]) AND v.key = r.key;
        INSERT INTO instance_values (instance, key, data)
        SELECT v_own[r.i], r.key, p_data[r.d]
        FROM jsonb_to_recordset(p->'values') AS r(i int, key text, d int)
        WHERE v_own[r.i] > 0 AND r.d IS NOT NULL;
    END IF;
    IF p ? 'statuses' THEN
        INSERT INTO custom_statuses (instance, data)
        SELECT v_own[r.i], p_data[r.d]
        FROM jsonb_to_recordset(p->'statuses') AS r(i int, d int)
        WHERE v_own[r.i] > 0
        ON CONFLICT (instance) DO UPDATE SET data = excluded.data;
    END IF;

    -- 4. Executions end and begin. What names an execution that is over is void.
    v_ends := '' <> ANY (v_ended);
    v_continues := true = ANY (v_goes_on);
    IF v_ends OR v_continues THEN
        INSERT INTO executions (
            instance, execution, status, event_count, started_at, completed_at, output, history
        )
        SELECT i.number, i.execution, v_ended[c.i], t.last_event + coalesce(c.events, 0),
               i.started_at, p_now, p_data[c.output], p_data[c.history]
        FROM jsonb_to_recordset(p->'items') AS c(i int, events int, output int, history int)
        JOIN instances AS i ON i.number = ANY (ARRAY[v_own[c.i]])
        JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        WHERE v_own[c.i] > 0 AND v_ended[c.i] <> '';
        DELETE FROM messages AS m
        USING generate_subscripts(v_own, 1) AS c(i), instances AS i
        WHERE v_own[c.i] > 0 AND (v_ended[c.i] <> '' OR v_goes_on[c.i])
          AND i.number = ANY (ARRAY[v_own[c.i]]) AND m.instance = ANY (ARRAY[v_own[c.i]])
          AND (NOT v_goes_on[c.i] OR i.status <> 'Running' OR m.execution IS NOT NULL);
        DELETE FROM activities AS a
        USING generate_subscripts(v_own, 1) AS c(i)
        WHERE v_own[c.i] > 0 AND (v_ended[c.i] <> '' OR v_goes_on[c.i])
          AND a.instance = ANY (ARRAY[v_own[c.i]]);
    END IF;
    IF v_ends OR v_continues OR p ? 'pins' THEN
        UPDATE instances AS i
        SET status = CASE WHEN v_ended[c.i] IN ('Completed', 'Failed') AND NOT v_goes_on[c.i]
                          THEN v_ended[c.i] ELSE 'Running' END,
            execution = i.execution + v_goes_on[c.i]::int,
            started_at = CASE WHEN v_goes_on[c.i] THEN p_now ELSE i.started_at END,
            continued = i.continued OR v_ended[c.i] = 'ContinuedAsNew',
            version = CASE WHEN c.version IS NOT NULL THEN c.version
                           WHEN c.unpin AND v_goes_on[c.i] THEN NULL
                           ELSE i.version END,
            engine = coalesce(c.engine, i.engine)
        FROM jsonb_to_recordset(p->'items') AS c(i int, version text, unpin boolean, engine int)
        WHERE v_own[c.i] > 0 AND i.number = ANY (ARRAY[v_own[c.i]])
          AND (v_ended[c.i] <> '' OR v_goes_on[c.i] OR c.version IS NOT NULL
               OR c.engine IS NOT NULL);
        IF v_continues OR p ? 'pins' THEN
            PERFORM make_turn_queues(p_namespace, (
                SELECT jsonb_agg(jsonb_build_object(
                    'name', i.name, 'version', i.version, 'engine', i.engine))
                FROM instances AS i WHERE i.number = ANY (v_own)
            ));
        END IF;
    END IF;

    -- 5. Activities are added, as far as their execution goes on.
    IF p ? 'add' THEN
        FOR v_try IN 1..2 LOOP
            INSERT INTO activities AS a (
                instance, id, queue, kind, ready_at, place, token, held_until, delivery,
                visible_at, added_at, data
            )
            SELECT v_own[r.i], r.id, q.number,
                   CASE WHEN r.token IS NOT NULL THEN 2 WHEN r.visible_at > p_now THEN 1 ELSE 0 END,
                   coalesce(r.until, r.visible_at, p_now),
                   r.o, r.token, r.until, (r.token IS NOT NULL)::int, r.visible_at, p_now,
                   p_data[r.d]
            FROM jsonb_to_recordset(p->'add') AS r(
                i int, o int, id text, name text, tag text, token text, until bigint,
                visible_at bigint, d int
            )
            JOIN activity_queues AS q
                ON q.namespace = p_namespace AND q.name = r.name
               AND q.tag = coalesce('=' || r.tag, '')
            WHERE v_own[r.i] > 0 AND v_ended[r.i] = ''
            ON CONFLICT (instance, id) DO UPDATE
            SET queue = excluded.queue, kind = excluded.kind, ready_at = excluded.ready_at,
                place = excluded.place, token = excluded.token, held_until = excluded.held_until,
                delivery = excluded.delivery, released_at = NULL, taken_from = NULL,
                visible_at = excluded.visible_at, added_at = excluded.added_at,
                data = excluded.data;
            GET DIAGNOSTICS v_rows = ROW_COUNT;
            -- Some writes are refused, or the first activities of their queues: those are made now.
            EXIT WHEN v_rows = jsonb_array_length(p->'add') OR NOT make_activity_queues(p_namespace, p->'add');
        END LOOP;
    END IF;

    -- 6. Instances are created. An id that another transaction creates meanwhile, or for which it
    -- keeps an event, is looked at again after that transaction.
    IF p ? 'create' THEN
        SELECT jsonb_agg(r.new) INTO v_pending
        FROM jsonb_array_elements(p->'create') AS r(new)
        WHERE v_verdict[(r.new->>'i')::int] = 'ok';
        PERFORM make_turn_queues(p_namespace, v_pending);
        WHILE v_pending IS NOT NULL LOOP
            PERFORM t.number
            FROM jsonb_to_recordset(v_pending) AS r(instance text)
            JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
            JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
            ORDER BY i.number FOR UPDATE OF t;
            -- In place of an ended instance.
            SELECT array_agg(i.number) INTO v_replaced
            FROM jsonb_to_recordset(v_pending) AS r(instance text, incarnation text, replaces text)
            JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
            WHERE r.replaces = i.incarnation AND i.incarnation <> r.incarnation
              AND i.status IN ('Completed', 'Failed');
            IF v_replaced IS NOT NULL THEN
                PERFORM delete_instances(v_replaced);
            END IF;
            WITH made AS (
                INSERT INTO instances (
                    namespace, id, incarnation, name, version, engine, status, execution,
                    first_execution, started_at, created_at, continued, parent_instance,
                    parent_incarnation, parent_execution, parent_event, labels
                )
                SELECT DISTINCT ON (r.instance)
                       p_namespace, r.instance, r.incarnation, r.name, r.version, r.engine,
                       'Running', 1, 1, p_now, p_now, false, r.parent->>0, r.parent->>1,
                       (r.parent->>2)::int, (r.parent->>3)::int, r.labels
                FROM jsonb_to_recordset(v_pending) AS r(
                    i int, o int, instance text, incarnation text, name text, version text,
                    engine int, parent jsonb, labels jsonb
                )
                ORDER BY r.instance, r.i, r.o
                ON CONFLICT (namespace, id) DO UPDATE
                SET incarnation = excluded.incarnation, name = excluded.name,
                    version = excluded.version, engine = excluded.engine, status = 'Running',
                    started_at = p_now, created_at = p_now,
                    parent_instance = excluded.parent_instance,
                    parent_incarnation = excluded.parent_incarnation,
                    parent_execution = excluded.parent_execution,
                    parent_event = excluded.parent_event, labels = excluded.labels
                WHERE instances.status = 'Awaited'
                RETURNING number, name, version, engine
            ), queued AS (
                INSERT INTO turns AS t (
                    number, queue, attempt, released_at, last_event, updated_at, arrivals, fronts,
                    stamp, custom_status_version, value_count
                )
                SELECT m.number, q.number, 0, 0, 0, p_now, 0, 0, 0, 0, 0
                FROM made AS m
                JOIN turn_queues AS q
                    ON q.namespace = p_namespace AND q.name = m.name
                   AND q.pin = coalesce('=' || m.version, '') AND q.engine = m.engine
                ON CONFLICT (number) DO UPDATE
                SET queue = excluded.queue, updated_at = p_now
            )
            SELECT v_created || coalesce(array_agg(m.number), '{}') INTO v_created FROM made AS m;
            v_in_use := v_in_use || ARRAY(
                SELECT r.instance
                FROM jsonb_to_recordset(v_pending) AS r(instance text, incarnation text)
                JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
                WHERE i.status <> 'Awaited' AND i.incarnation <> r.incarnation
            );
            -- What is neither created nor in use is in the hands of another transaction.
            SELECT jsonb_agg(r.new) INTO v_left
            FROM jsonb_array_elements(v_pending) AS r(new)
            LEFT JOIN LATERAL find_instance(p_namespace, r.new->>'instance') AS i ON true
            WHERE NOT r.new->>'instance' = ANY (v_in_use)
              AND i.incarnation IS DISTINCT FROM r.new->>'incarnation';
            v_pending := v_left;
        END LOOP;
        IF p ? 'labels' THEN
            INSERT INTO labels (namespace, key, value, created_at, instance)
            SELECT p_namespace, l.key, l.value, p_now, i.number
            FROM jsonb_to_recordset(p->'create') AS r(
                i int, instance text, incarnation text, labels jsonb
            )
            JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON i.incarnation = r.incarnation
            CROSS JOIN LATERAL jsonb_each_text(r.labels) AS l(key, value)
            WHERE i.number = ANY (v_created);
        END IF;
    END IF;

    -- 7. Messages are put into mailboxes: those that are not void, in the order given.
    IF p ? 'awaited' THEN
        PERFORM await_ids(p_namespace, p_now, p->'awaited', v_verdict);
    END IF;
    IF p ? 'front' THEN
        DELETE FROM messages AS m
        USING jsonb_to_recordset(p->'front') AS r(i int, id text)
        WHERE v_own[r.i] > 0 AND m.instance = ANY (ARRAY[v_own[r.i]]) AND m.id = r.id;
    END IF;
    IF cardinality(v_created) > 0 THEN
        -- A start message has its id, whatever early event has it.
        DELETE FROM messages AS m
        USING jsonb_to_recordset(p->'send') AS r(instance text, id text, begins boolean)
        CROSS JOIN LATERAL with_key(p_namespace, r.instance, r.id) AS k
        WHERE r.begins AND k.number = ANY (v_created)
          AND m.instance = ANY (ARRAY[k.number]) AND m.id = k.id;
    END IF;
    IF p ? 'send' THEN
        WITH put AS (
            INSERT INTO messages (
                instance, rank, position, arrival, id, kind, addressed, execution, visible_at,
                due, arrived_at, data
            )
            SELECT t.number,
                   CASE WHEN r.kind = 'start' THEN 0 WHEN r.front THEN 1 ELSE 2 END,
                   CASE WHEN r.kind = 'start' THEN 0 WHEN r.front THEN -t.fronts - 1
                        ELSE coalesce(r.visible_at, greatest(t.stamp, p_now)) END,
                   t.arrivals + row_number() OVER (PARTITION BY t.number ORDER BY r.i, r.o),
                   r.id, r.kind, r.incarnation IS NOT NULL, r.execution, r.visible_at,
                   coalesce(r.visible_at, greatest(t.stamp, p_now)), greatest(t.stamp, p_now),
                   p_data[r.d]
            FROM jsonb_to_recordset(p->'send') AS r(
                i int, o int, instance text, incarnation text, execution int, id text, kind text,
                visible_at bigint, front boolean, d int, begins boolean, refused text,
                wanted text
            )
            JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
            JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
            WHERE v_verdict[r.i] = 'ok'
              AND i.status NOT IN ('Completed', 'Failed')
              AND (i.status <> 'Awaited' OR r.kind = 'event')
              AND (r.incarnation IS NULL OR r.incarnation = i.incarnation)
              AND (r.execution IS NULL OR r.execution = i.execution)
              AND (r.begins IS NULL OR i.number = ANY (v_created))
              AND (r.refused IS NULL OR EXISTS (
                SELECT FROM find_instance(p_namespace, r.refused) AS x
                WHERE x.incarnation <> r.wanted
              ))
            ON CONFLICT (instance, id) DO NOTHING
            RETURNING instance, due, visible_at
        ), counted AS (
            SELECT m.instance, count(*) AS count,
                   min(m.due) FILTER (WHERE m.visible_at IS NULL OR m.visible_at <= p_now) AS since,
                   min(m.visible_at) FILTER (WHERE m.visible_at > p_now) AS next
            FROM put AS m GROUP BY m.instance
        )
        SELECT array_agg(c.instance), array_agg(c.count), array_agg(c.since), array_agg(c.next)
        INTO v_put, v_count, v_since, v_next
        FROM counted AS c;
        UPDATE turns AS t
        SET arrivals = t.arrivals + jsonb_array_length(p->'send'),
            fronts = t.fronts + (p ? 'front')::int,
            stamp = greatest(t.stamp, p_now),
            kind = k.kind,
            ready_at = CASE
                WHEN k.kind IS NULL THEN NULL
                WHEN k.kind = 2 THEN CASE WHEN t.kind = 2 THEN t.ready_at ELSE t.held_until END
                WHEN k.kind = 1 THEN CASE WHEN t.kind = 1 THEN least(t.ready_at, c.next) ELSE c.next END
                WHEN t.kind = 0 THEN t.ready_at
                ELSE greatest(least(CASE WHEN t.kind = 1 THEN t.ready_at END, c.since), t.released_at)
            END
        FROM unnest(v_put, v_since, v_next) AS n(number, since, next)
        JOIN instances AS i ON i.number = ANY (ARRAY[n.number])
        LEFT JOIN LATERAL (
            -- Early events were waiting for it.
            SELECT x.since, x.next FROM mailbox_times(n.number, p_now) AS x
            WHERE n.number = ANY (v_created)
        ) AS m ON true
        CROSS JOIN LATERAL (
            SELECT n.number, least(n.since, m.since) AS since, least(n.next, m.next) AS next
        ) AS c
        CROSS JOIN LATERAL (
            SELECT o.kind, o.held_until > p_now AND o.held_until <= p_now + @farthest@ AS is_held
            FROM turns AS o WHERE o.number = c.number
        ) AS now
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN i.status = 'Awaited' THEN NULL
                WHEN now.kind = 2 OR (now.kind IS NULL AND now.is_held) THEN 2
                WHEN now.kind = 0 OR c.since IS NOT NULL THEN 0
                ELSE 1
            END::smallint AS kind
        ) AS k
        WHERE t.number = ANY (ARRAY[c.number]);
    END IF;
    IF p ? 'cancels' THEN
        -- A cancellation ends the delay of an instance that is not leased (LEASE-22).
        SELECT array_agg(t.number) INTO v_delayed
        FROM jsonb_to_recordset(p->'cancels') AS r(i int, instance text, incarnation text, execution int)
        JOIN LATERAL find_instance(p_namespace, r.instance) AS i ON true
        JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        WHERE v_verdict[r.i] = 'ok' AND i.status = 'Running' AND t.token IS NULL
          AND t.held_until IS NOT NULL
          AND (r.incarnation IS NULL OR r.incarnation = i.incarnation)
          AND (r.execution IS NULL OR r.execution = i.execution);
        UPDATE turns AS t
        SET held_until = NULL,
            kind = CASE WHEN m.since IS NOT NULL THEN 0 WHEN m.next IS NOT NULL THEN 1 END,
            ready_at = CASE WHEN m.since IS NOT NULL THEN greatest(m.since, t.released_at)
                            ELSE m.next END
        FROM unnest(v_delayed) AS c(number), LATERAL mailbox_times(c.number, p_now) AS m
        WHERE t.number = ANY (ARRAY[c.number]);
    END IF;

    -- 8. The fields of the instances that the writes are about, and their answers. A lease that is kept
    -- stays where it is in the index unless it ends earlier now, so that the row is updated in place.
    v_rows := 0;
    IF p ? 'turns' THEN
        RETURN QUERY
        UPDATE turns AS t
        SET queue = CASE WHEN q.number IS NULL THEN t.queue ELSE q.number END,
            last_event = CASE WHEN v_goes_on[c.i] THEN 0
                              ELSE t.last_event + coalesce(c.events, 0) END,
            last_commit = c.id,
            updated_at = p_now,
            activities_until = CASE WHEN v_ended[c.i] = '' THEN c.leased_until END,
            in_use = CASE WHEN c.creates IS NOT NULL
                          THEN (SELECT array_agg(n.id) FROM jsonb_array_elements_text(c.creates) AS n(id)
                                WHERE n.id = ANY (v_in_use)) END,
            token = CASE WHEN k.keeps THEN t.token END,
            held_until = CASE WHEN k.keeps THEN c.keep END,
            attempt = k.keeps::int,
            released_at = CASE WHEN k.keeps THEN t.released_at ELSE p_now END,
            taken_from = NULL,
            parked_reason = NULL, parked_details = NULL, parked_since = NULL,
            custom_status_version = t.custom_status_version + coalesce(c.told, 0),
            value_count = CASE WHEN c.changes IS NULL THEN t.value_count
                               ELSE (SELECT count(*) FROM instance_values AS v
                                     WHERE v.instance = t.number) END,
            kind = CASE WHEN k.keeps THEN 2
                        WHEN k.is_over THEN NULL
                        WHEN m.since IS NOT NULL THEN 0
                        WHEN m.next IS NOT NULL THEN 1 END,
            ready_at = CASE WHEN k.keeps THEN
                                CASE WHEN t.kind = 2 THEN least(t.ready_at, c.keep) ELSE c.keep END
                            WHEN k.is_over THEN NULL
                            WHEN m.since IS NOT NULL THEN greatest(m.since, p_now)
                            ELSE m.next END
        FROM jsonb_to_recordset(p->'items') AS c(
            i int, kind text, id text, events int, keep bigint, leased_until bigint, told int,
            changes int, creates jsonb
        )
        CROSS JOIN LATERAL (
            SELECT v_ended[c.i] <> '' AND NOT v_goes_on[c.i] AS is_over,
                   c.keep IS NOT NULL AND (v_ended[c.i] = '' OR v_goes_on[c.i]) AS keeps
        ) AS k
        LEFT JOIN LATERAL (
            SELECT x.since, x.next FROM mailbox_times(v_own[c.i], p_now) AS x
            WHERE NOT k.keeps AND NOT k.is_over
        ) AS m ON true
        LEFT JOIN LATERAL (
            SELECT n.number
            FROM instances AS i
            JOIN turn_queues AS n
                ON n.namespace = p_namespace AND n.name = i.name
               AND n.pin = coalesce('=' || i.version, '') AND n.engine = i.engine
            WHERE i.number = v_own[c.i] AND (p ? 'pins' OR v_goes_on[c.i])
        ) AS q ON true
        WHERE c.kind IN ('commit', 'terminate', 'reopen') AND v_own[c.i] > 0
          AND t.number = ANY (ARRAY[v_own[c.i]])
        RETURNING c.i, 0,
                  jsonb_build_object(
                      'verdict', v_verdict[c.i], 'until', CASE WHEN k.keeps THEN t.held_until END,
                      'activities_until', t.activities_until, 'in_use', t.in_use),
                  NULL::bytea;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
    END IF;

    -- 9. The answers of the other writes, and for each kept lease a delivery.
    IF v_rows < jsonb_array_length(p->'items') THEN
        RETURN QUERY
            SELECT c.i, 0,
                   jsonb_build_object(
                       'verdict', v_verdict[c.i], 'execution', v_execution[c.i],
                       'event', v_event[c.i], 'lost', v_lost[c.i],
                       'until', CASE WHEN t.token = c.token AND c.keep IS NOT NULL
                                     THEN t.held_until END,
                       'activities_until', t.activities_until,
                       'in_use', CASE WHEN c.kind = 'create'
                                      THEN to_jsonb(ARRAY(SELECT u FROM unnest(v_in_use) AS u
                                                          WHERE u = c.instance))
                                      ELSE to_jsonb(t.in_use) END),
                   NULL::bytea
            FROM jsonb_to_recordset(p->'items') AS c(
                i int, kind text, instance text, token text, keep bigint
            )
            LEFT JOIN turns AS t
                ON c.kind = 'commit' AND v_verdict[c.i] = 'repeat'
               AND t.number = ANY (ARRAY[v_of[c.i]])
            WHERE c.kind NOT IN ('commit', 'terminate', 'reopen') OR v_own[c.i] = 0;
    END IF;
    IF p ? 'keeps' AND EXISTS (SELECT FROM messages AS m WHERE m.instance = ANY (v_of)) THEN
        RETURN QUERY
            SELECT c.i, d.part, d.fields, d.data
            FROM jsonb_to_recordset(p->'items') AS c(
                i int, kind text, token text, held jsonb, keep bigint
            )
            JOIN turns AS t
                ON v_verdict[c.i] IN ('ok', 'repeat') AND t.number = ANY (ARRAY[v_of[c.i]])
               AND t.token = c.token
            CROSS JOIN LATERAL deliver(t.number, p_now, t.stamp, c.held) AS d
            WHERE c.kind = 'commit' AND c.keep IS NOT NULL;
    END IF;
    IF p ? 'tells' THEN
        -- For those who wait for an end; the caller has its output. A repeat may be outdated.
        RETURN QUERY
            SELECT c.i, 3, plain_fields(n, t) || jsonb_build_object('ended_as', n.status), s.data
            FROM jsonb_to_recordset(p->'items') AS c(i int, tells boolean)
            JOIN instances AS n ON n.number = v_own[c.i]
            JOIN turns AS t ON t.number = n.number
            LEFT JOIN custom_statuses AS s
                ON t.custom_status_version > 0 AND s.instance = n.number
            WHERE c.tells;
    END IF;
END
$$;

-- Makes a row for each of these ids that no instance has, so that events can wait there.
CREATE OR REPLACE FUNCTION await_ids(p_namespace int, p_now bigint, p_ids jsonb, p_verdict text[])
RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_missing text[];
BEGIN
    LOOP
        -- The rows that there are meanwhile are locked here, if they were not before.
        PERFORM t.number
        FROM jsonb_to_recordset(p_ids) AS r(i int, id text)
        JOIN LATERAL find_instance(p_namespace, r.id) AS i ON true
        JOIN turns AS t ON t.number = ANY (ARRAY[i.number])
        WHERE p_verdict[r.i] = 'ok'
        ORDER BY i.number FOR UPDATE OF t;
        SELECT array_agg(DISTINCT r.id) INTO v_missing
        FROM jsonb_to_recordset(p_ids) AS r(i int, id text)
        WHERE p_verdict[r.i] = 'ok' AND NOT EXISTS (
            SELECT FROM find_instance(p_namespace, r.id)
        );
        EXIT WHEN v_missing IS NULL;
        WITH made AS (
            INSERT INTO instances (
                namespace, id, incarnation, name, engine, status, execution, first_execution,
                started_at, created_at, continued
            )
            SELECT p_namespace, m.id, '', '', 0, 'Awaited', 1, 1, p_now, p_now, false
            FROM unnest(v_missing) AS m(id)
            ORDER BY m.id
            ON CONFLICT (namespace, id) DO NOTHING
            RETURNING number
        )
        INSERT INTO turns (
            number, queue, attempt, released_at, last_event, updated_at, arrivals, fronts,
            stamp, custom_status_version, value_count
        )
        SELECT m.number, 0, 0, 0, 0, p_now, 0, 0, 0, 0, 0 FROM made AS m;
    END LOOP;
END
$$;
