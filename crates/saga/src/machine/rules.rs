//! The waits and rules that the guarantees rest on. In a product build they are constants, all in force; the simulation
//! takes them away one by one and must notice each.

#[expect(clippy::struct_excessive_bools, reason = "one switch for each rule that the simulation takes away")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// The start is durable before the first call.
    pub(super) start_wait: bool,
    /// The decision to compensate is durable before the first compensation.
    pub(super) decision_wait: bool,
    /// The commit point's intent is durable before it is sent.
    pub(super) commit_point_wait: bool,
    /// The end is durable before it is reported.
    pub(super) end_wait: bool,
    /// Results of, and for, steps that are strict or lack a barrier are durable before what comes next is sent.
    pub(super) strict_wait: bool,
    /// Outputs that a step's compensation reads are durable before the step is sent.
    pub(super) reads_wait: bool,
    /// A result that came after the decision is durable before a compensation says that it knows of it.
    pub(super) knowledge_wait: bool,
    /// An operator's act is durable before what follows from it is sent.
    pub(super) act_wait: bool,
    /// After a crash every step that no wait holds back counts as sent.
    pub(super) possibly_sent: bool,
    /// A refusal after an attempt that may have been sent does not mean that nothing was done.
    pub(super) doubtful_refusal: bool,
}

impl Rules {
    pub(super) const ALL: Self = Self {
        start_wait: true,
        decision_wait: true,
        commit_point_wait: true,
        end_wait: true,
        strict_wait: true,
        reads_wait: true,
        knowledge_wait: true,
        act_wait: true,
        possibly_sent: true,
        doubtful_refusal: true,
    };
}
