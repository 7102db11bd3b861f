//! Interesting states. A campaign that never reached one of them proves nothing about it, and fails.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Mark {
    CrashBeforeStartDurable,
    CrashBeforeCommitPointDurable,
    CrashAtCommitPoint,
    CrashWhileCompensating,
    CrashAfterEnd,
    LostCommitAck,
    CommitLandedUnseen,
    PossiblySentUnasked,
    PossiblySentCompensated,
    PossiblySentThenDone,
    LateActionVoided,
    Replayed,
    LateReply,
    ClockJumped,
    ZombieCallArrived,
    ZombieCallRefused,
    ZombieCallReplayed,
    ZombieCallAfterSettlement,
    DoubtfulRefusal,
    StoredRefusalFinal,
    PivotRefused,
    PivotAskedAgain,
    PivotDoubtfulParked,
    ProbeDone,
    ProbeAbsent,
    ParkedByCompensation,
    ParkedByOutput,
    ParkedRetriable,
    ParkedThenSettled,
    Overdue,
    TimedOut,
    Misconfigured,
    StepDeadline,
    Exhausted,
    CancelPending,
    CancelRunning,
    CancelHeld,
    CancelCompensating,
    CancelPastCommitPoint,
    PermissionRevoked,
    Held,
    Voided,
    AssumedDone,
    ResolvedByHand,
    Skipped,
    PivotSkipped,
    ConditionFault,
    ParallelCompensations,
    CompletedAhead,
    Completed,
    Compensated,
    Failed,
}

impl Mark {
    pub(super) const COUNT: u32 = Self::Failed as u32 + 1;
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u64);

impl Marks {
    pub(super) fn hit(&mut self, mark: Mark) {
        self.0 |= 1 << mark as u32;
    }

    pub(super) fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The numbers of the marks that were never hit, in the order of [`Mark`].
    pub(super) fn missed(self) -> Vec<u32> {
        (0..Mark::COUNT).filter(|mark| self.0 >> mark & 1 == 0).collect()
    }
}
