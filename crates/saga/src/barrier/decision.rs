//! What becomes of a call, as a function of what the database holds. No I/O, no clock.

use steadfast_core::{Knowledge, Op, problem};

use super::{Answer, Route};

/// What a row says about its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It happened, once.
    Done,
    /// The business said no; nothing happened and nothing ever will.
    Refused,
    /// It was compensated before it arrived; it never happens.
    Void,
}

/// What is known of a step when one of its calls arrives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// The action's row.
    pub(crate) action: Option<State>,
    /// The compensation's row.
    pub(crate) compensation: Option<State>,
    /// Whether the saga started before the pruning horizon: then a missing row proves nothing.
    pub(crate) behind_horizon: bool,
}

/// What to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Do the work, then record its answer.
    Run,
    /// Give the stored answer again.
    Replay,
    /// Succeed without doing anything: there is nothing to take back.
    Nothing,
    /// Record that the action must never happen, and succeed.
    Void,
    /// The action was compensated before it arrived.
    Voided,
    /// The saga's rows may have been pruned: whether the effect happened can no longer be told.
    TooLate,
    /// The orchestrator knows of an action that this database does not hold.
    ActionNotFound,
}

/// Decides. `knowledge` counts for compensations only.
pub(crate) fn decide(op: Op, knowledge: Knowledge, known: Known) -> Decision {
    match (op, known.action, known.compensation) {
        (Op::Action, Some(State::Done | State::Refused), _) | (Op::Compensate, _, Some(_)) => Decision::Replay,
        // A compensation's row without the action's: the action has been pruned or lost. It must not run again.
        (Op::Action, Some(State::Void), _) | (Op::Action, None, Some(_)) => Decision::Voided,
        (Op::Compensate, Some(State::Refused | State::Void), None) => Decision::Nothing,
        (_, None, None) if known.behind_horizon => Decision::TooLate,
        (Op::Action, None, None) | (Op::Compensate, Some(State::Done), None) => Decision::Run,
        (Op::Compensate, None, None) => match knowledge {
            Knowledge::Unknown => Decision::Void,
            Knowledge::Done => Decision::ActionNotFound,
        },
    }
}

/// How an answer of the work ends its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Commit the effect with its answer.
    Record,
    /// Take the effect back, commit the refusal with its answer.
    Refuse,
    /// Take the effect back, remember nothing: the call may be made again and may then succeed.
    Forget,
}

/// Decides how an answer ends. A refusal is only what the protocol reads as one: a problem with a status that means
/// "the business said no". Compensations and retriable steps cannot be refused for good, so theirs are forgotten.
pub(crate) fn ending(op: Op, route: Route, answer: &Answer) -> Ending {
    if (200..300).contains(&answer.status()) {
        return Ending::Record;
    }
    let final_status = matches!(answer.status(), 400 | 402 | 409 | 410 | 412 | 422);
    if op == Op::Compensate || route == Route::Retriable || !final_status || !answer.is_problem() {
        return Ending::Forget;
    }
    if answer.problem_code().is_some_and(|code| PASSING.contains(&code.as_str())) {
        return Ending::Forget;
    }
    Ending::Refuse
}

/// Problems that say "ask again", whatever their status: never a verdict on the step.
const PASSING: [&str; 10] = [
    problem::IN_FLIGHT.code,
    problem::CONFLICT.code,
    problem::RATE_LIMITED.code,
    problem::UNAVAILABLE.code,
    problem::OVERLOADED.code,
    problem::MISMATCH.code,
    problem::MISSING_KEY.code,
    problem::INVALID_KEY.code,
    problem::OUTCOME_UNKNOWN.code,
    problem::RESULT_UNAVAILABLE.code,
];

#[cfg(test)]
mod tests {
    use steadfast_core::problem::{self, Problem};

    use super::*;

    const STATES: [Option<State>; 4] = [None, Some(State::Done), Some(State::Refused), Some(State::Void)];

    fn all(op: Op, check: impl Fn(Knowledge, Known, Decision)) {
        for knowledge in [Knowledge::Done, Knowledge::Unknown] {
            for action in STATES {
                for compensation in [None, Some(State::Done)] {
                    for behind_horizon in [false, true] {
                        let known = Known { action, compensation, behind_horizon };
                        check(knowledge, known, decide(op, knowledge, known));
                    }
                }
            }
        }
    }

    #[test]
    fn an_action_runs_only_where_nothing_at_all_is_known_and_the_absence_proves_something() {
        all(Op::Action, |_, known, decision| {
            let blank = known.action.is_none() && known.compensation.is_none() && !known.behind_horizon;
            assert_eq!(decision == Decision::Run, blank, "{known:?}");
        });
    }

    #[test]
    fn a_compensation_runs_only_after_a_done_action_and_once() {
        all(Op::Compensate, |_, known, decision| {
            let due = known.action == Some(State::Done) && known.compensation.is_none();
            assert_eq!(decision == Decision::Run, due, "{known:?}");
        });
    }

    #[test]
    fn a_compensation_of_an_unseen_action_depends_on_what_the_orchestrator_knows() {
        let known = Known::default();
        assert_eq!(decide(Op::Compensate, Knowledge::Unknown, known), Decision::Void);
        assert_eq!(decide(Op::Compensate, Knowledge::Done, known), Decision::ActionNotFound);
        let behind = Known { behind_horizon: true, ..known };
        assert_eq!(decide(Op::Compensate, Knowledge::Unknown, behind), Decision::TooLate, "it might have been pruned");
        assert_eq!(decide(Op::Action, Knowledge::Unknown, behind), Decision::TooLate);
    }

    fn of(problem: &Problem) -> Answer {
        Answer::problem(problem)
    }

    #[test]
    fn a_refusal_is_final_only_for_actions_of_compensatable_steps() {
        let refusal = of(&problem::BUSINESS_REFUSAL.with("out of stock"));
        assert_eq!(ending(Op::Action, Route::Compensatable, &refusal), Ending::Refuse);
        assert_eq!(ending(Op::Action, Route::Retriable, &refusal), Ending::Forget);
        assert_eq!(ending(Op::Compensate, Route::Compensatable, &refusal), Ending::Forget);
    }

    #[test]
    fn what_the_protocol_does_not_read_as_a_refusal_is_not_stored_as_one() {
        for passing in [&problem::IN_FLIGHT, &problem::CONFLICT, &problem::RATE_LIMITED, &problem::UNAVAILABLE] {
            assert_eq!(
                ending(Op::Action, Route::Compensatable, &of(&passing.with("x"))),
                Ending::Forget,
                "{passing:?}"
            );
        }
        for status in [401, 403, 404, 408, 413, 425, 500, 503, 302] {
            let mut problem = problem::BUSINESS_REFUSAL.with("x");
            problem.status = status;
            assert_eq!(ending(Op::Action, Route::Compensatable, &of(&problem)), Ending::Forget, "{status}");
        }
        let bare = Answer::new(422, "text/plain", "no");
        assert_eq!(ending(Op::Action, Route::Compensatable, &bare), Ending::Forget, "no problem+json");
    }
}
