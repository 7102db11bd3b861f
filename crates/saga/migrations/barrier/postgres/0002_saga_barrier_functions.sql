-- The barrier for a service in any language: enter, work, leave or refuse, in the service's own transaction.
-- A role needs EXECUTE on the functions and no right on the tables: they run as their owner, under a search path on which
-- nobody can put anything, and name the tables with their schema, which is the one that the migration runs in.
-- Nothing here lists rows: an answer is told only to who names its key in full.
do $migration$
declare
    here text := quote_ident(current_schema());
begin
    -- Says what to do with a call. outcome 'run': do the work, then leave or refuse, then commit. Any other: commit, and
    -- answer with status, headers and body as they are; nothing is to be done.
    -- Lock: the step's advisory lock until the transaction ends, not waited for. It covers both effects of a step, so that
    -- a compensation sees an action in flight. The rows are read by a later statement, which sees what the lock's last
    -- holder has committed. Index: the primary key, at most two rows.
    -- Repeat: reads only, or finds the row that it has written.
    execute replace($function$
        create function saga_barrier_enter(
            key text, started bigint, knowledge text, request bytea,
            out outcome text, out status integer, out content_type text, out body bytea, out headers jsonb
        )
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
        as $body$
        declare
            bare text := trim(both '"' from key);
            parts text[] := string_to_array(bare, ':');
            mark bytea := substr(request, 1, 8);
            saga_id uuid;
            step_name text := parts[2];
            asked smallint := case parts[3] when 'action' then 1 when 'compensate' then 2 end;
            action_state smallint;
            undo_state smallint;
            horizon bigint;
            stored record;
            title text;
            detail text;
        begin
            if current_setting('transaction_isolation') <> 'read committed' then
                raise exception 'saga_barrier_enter: the transaction is %, and must be read committed', current_setting('transaction_isolation')
                    using errcode = '25000', hint = 'An older snapshot hides what another call of this step has just committed.';
            end if;
            if cardinality(parts) is distinct from 3 or step_name = '' or asked is null then
                raise exception 'saga_barrier_enter: key must be {saga}:{step}:action or {saga}:{step}:compensate'
                    using errcode = '22023', hint = 'Pass the header Idempotency-Key as it came.';
            end if;
            if started is null then
                raise exception 'saga_barrier_enter: started is missing'
                    using errcode = '22023', hint = 'Pass the header Saga-Started, milliseconds since 1970.';
            end if;
            if mark is null or length(mark) < 8 then
                raise exception 'saga_barrier_enter: request must be the SHA-256 of the request''s body'
                    using errcode = '22023', hint = 'Hash the bytes of the body as they came, also where there are none.';
            end if;
            saga_id := parts[1]::uuid;
            if asked = 2 and (knowledge is null or knowledge not in ('done', 'unknown')) then
                raise exception 'saga_barrier_enter: knowledge must be done or unknown for a compensation'
                    using errcode = '22023', hint = 'Pass the header Saga-Action.';
            end if;

            if not pg_try_advisory_xact_lock(hashtextextended(saga_id::text || ':' || step_name, 7264)) then
                outcome := 'in-flight';
            else
                -- One snapshot for the rows and the horizon: a row that was pruned before it lies behind this horizon.
                select max(b.state) filter (where b.op = 1), max(b.state) filter (where b.op = 2),
                    (select h.started_before from @schema@.saga_barrier_horizon h where h.id = 1)
                into action_state, undo_state, horizon
                from @schema@.saga_barrier b
                where b.saga = saga_id and b.step = step_name;
                if horizon is null then
                    raise exception 'saga_barrier_horizon has no row'
                        using errcode = 'XX001', hint = 'Restore the row (1, 0): it is made by the migration.';
                end if;
                outcome := case
                    when (asked = 1 and action_state in (1, 2)) or (asked = 2 and undo_state is not null) then 'replayed'
                    -- A compensation's row without the action's: the action has been pruned or lost. It must not run again.
                    when asked = 1 and (action_state = 3 or undo_state is not null) then 'voided'
                    when asked = 2 and action_state in (2, 3) then 'nothing'
                    when action_state is null and started < horizon then 'too-late'
                    when asked = 1 or action_state = 1 then 'run'
                    when knowledge = 'unknown' then 'void'
                    else 'action-not-found'
                end;
            end if;

            if outcome = 'run' then
                -- The pass that leave and refuse ask for: a line for each call; it ends with this transaction.
                perform set_config(
                    'steadfast.barrier',
                    concat(current_setting('steadfast.barrier', true), e'\n', bare, ' ', started, ' ', encode(mark, 'hex')), true
                );
                return;
            elsif outcome = 'replayed' then
                select b.* into stored from @schema@.saga_barrier b
                where b.saga = saga_id and b.step = step_name and b.op = asked;
                status := stored.status;
                content_type := coalesce(stored.content_type, 'application/json');
                body := stored.body;
                headers := jsonb_build_object('Idempotency-Replayed', 'true');
                if stored.state = 2 then
                    headers := headers || jsonb_build_object('Saga-Outcome', 'refused');
                end if;
                if body is not null then
                    headers := headers || jsonb_build_object('Content-Type', content_type);
                end if;
                if stored.request <> mark then
                    outcome := 'altered';
                end if;
                return;
            elsif outcome in ('void', 'nothing') then
                if outcome = 'void' then
                    insert into @schema@.saga_barrier (saga, step, op, state, status, request, started_at)
                    values (saga_id, step_name, 1, 3, 409, mark, started);
                end if;
                status := 204;
                headers := '{}';
                return;
            end if;

            case outcome
                when 'in-flight' then
                    title := 'A request with this key is being processed';
                    detail := 'another call of this step is in progress: ask again';
                when 'voided' then
                    title := 'The step was compensated before its action arrived';
                    detail := 'this step was compensated before its action arrived; the action had no effect and never will';
                when 'too-late' then
                    title := 'The saga lies before the pruning horizon';
                    detail := format('the saga started at %s, before the pruning horizon %s: whether this step ran can no longer be told here; compare with the orchestrator''s journal', started, horizon);
                else
                    title := 'The action to compensate is not known here';
                    detail := 'the orchestrator knows the action as done, but this database does not hold it: was it restored from an older copy? Repair by hand, then resolve the saga';
            end case;
            status := 409;
            content_type := 'application/problem+json';
            headers := jsonb_build_object('Content-Type', content_type);
            body := convert_to(json_build_object(
                'type', 'https://steadfast.dev/problems/' || outcome,
                'title', title,
                'status', status,
                'detail', bare || ': ' || detail
            )::text, 'UTF8');
        end
        $body$
    $function$, '@schema@', here);

    -- Records the effect as done, with its answer. Commit afterwards.
    -- Lock: the step's, since enter. Index: the primary key. Repeat: a second row for the key is a unique violation
    -- (23505), and everything is rolled back with it.
    execute replace($function$
        create function saga_barrier_leave(key text, status integer, content_type text, body bytea) returns void
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
        as $body$
        declare
            bare text := trim(both '"' from key);
            pass text := split_part(current_setting('steadfast.barrier', true), e'\n' || bare || ' ', 2);
            started text := split_part(pass, ' ', 1);
            mark text := left(split_part(pass, ' ', 2), 16);
        begin
            if coalesce(pass, '') = '' then
                raise exception 'saga_barrier_leave: this transaction has not entered with this key'
                    using errcode = '55000', hint = 'Begin a transaction; enter, work and leave in it, on one connection; then commit. Switch autocommit off.';
            end if;
            if status is null or status not between 200 and 299 then
                raise exception 'saga_barrier_leave: % is no success', status
                    using errcode = '22023', hint = 'Roll the work back; then store a refusal with saga_barrier_refuse, or nothing.';
            end if;
            insert into @schema@.saga_barrier (saga, step, op, state, status, content_type, body, request, started_at)
            values (
                split_part(bare, ':', 1)::uuid,
                split_part(bare, ':', 2),
                case split_part(bare, ':', 3) when 'action' then 1 else 2 end,
                1, status, nullif(content_type, 'application/json'), nullif(body, ''::bytea), decode(mark, 'hex'), started::bigint
            );
        end
        $body$
    $function$, '@schema@', here);

    -- Records that the business has said no, for good. The work must have been rolled back to a savepoint set after enter,
    -- or must not have written. Commit afterwards. Lock, index, repeat: as saga_barrier_leave.
    execute replace($function$
        create function saga_barrier_refuse(key text, status integer, content_type text, body bytea) returns void
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
        as $body$
        declare
            bare text := trim(both '"' from key);
            pass text := split_part(current_setting('steadfast.barrier', true), e'\n' || bare || ' ', 2);
            started text := split_part(pass, ' ', 1);
            mark text := left(split_part(pass, ' ', 2), 16);
        begin
            if coalesce(pass, '') = '' then
                raise exception 'saga_barrier_refuse: this transaction has not entered with this key'
                    using errcode = '55000', hint = 'Begin a transaction; enter, roll the work back and refuse in it, on one connection; then commit. Switch autocommit off.';
            end if;
            if split_part(bare, ':', 3) <> 'action' then
                raise exception 'saga_barrier_refuse: a compensation cannot be refused for good'
                    using errcode = '22023', hint = 'Roll back and answer; it is asked for again.';
            end if;
            if status is null or status not in (400, 402, 409, 410, 412, 422) then
                raise exception 'saga_barrier_refuse: % is not read as a refusal', status
                    using errcode = '22023', hint = 'Refuse with 400, 402, 409, 410, 412 or 422; for any other answer roll back and store nothing.';
            end if;
            insert into @schema@.saga_barrier (saga, step, op, state, status, content_type, body, request, started_at)
            values (
                split_part(bare, ':', 1)::uuid, split_part(bare, ':', 2), 1, 2, status,
                nullif(content_type, 'application/json'), nullif(body, ''::bytea), decode(mark, 'hex'), started::bigint
            );
        end
        $body$
    $function$, '@schema@', here);

    -- Raises the pruning horizon, never back, and removes at most a batch of rows behind it; answers how many.
    -- Index: saga_barrier_started from its beginning, so the work is bounded by the batch. Lock: the rows removed; those
    -- that another pruning holds are passed over. Repeat: takes the next batch.
    execute replace($function$
        create function saga_barrier_prune(horizon bigint, batch integer default 1000) returns bigint
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
        as $body$
        declare
            removed bigint;
        begin
            update @schema@.saga_barrier_horizon h set started_before = horizon where h.id = 1 and h.started_before < horizon;
            delete from @schema@.saga_barrier b
            where b.ctid = any(array(
                select o.ctid from @schema@.saga_barrier o
                where o.started_at < (select h.started_before from @schema@.saga_barrier_horizon h where h.id = 1)
                order by o.started_at limit batch for update skip locked
            ));
            get diagnostics removed = row_count;
            return removed;
        end
        $body$
    $function$, '@schema@', here);
end
$migration$;

revoke all on function saga_barrier_enter(text, bigint, text, bytea) from public;
revoke all on function saga_barrier_leave(text, integer, text, bytea) from public;
revoke all on function saga_barrier_refuse(text, integer, text, bytea) from public;
revoke all on function saga_barrier_prune(bigint, integer) from public;
