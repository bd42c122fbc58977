//! How one direction ends: [`rule`], its states and its events.

/// How far one direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Bytes may come.
    Open,
    /// No more will come; those that did are to be delivered.
    Draining,
    /// All were delivered, and the sink was told that these were all.
    Shut,
    /// The sink is gone; what was left has been dropped.
    Failed,
}

/// What can happen to one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The source has said its last byte: in order, or because it has failed after it.
    SourceEnded,
    /// The source has failed before its last byte: what came is not all.
    SourceBroken,
    /// Nothing is held any more.
    Emptied,
    /// The sink has failed, or nobody waits for it any longer.
    SinkGone,
}

/// How a direction ends. What that means for the two ends together is the session's to judge.
pub fn rule(state: State, event: Event) -> State {
    use Event::*;
    use State::*;
    match (event, state) {
        // What the source said before its end is still delivered.
        (SourceEnded, Open) => Draining,
        (Emptied, Draining) => Shut,
        // What is held is a part of something that will never be complete.
        (SourceBroken, Open) => Failed,
        // Nobody to deliver to.
        (SinkGone, Open | Draining) => Failed,
        // It was over already, or still goes on.
        (SourceEnded | SourceBroken, Draining | Shut | Failed)
        | (Emptied, Open | Shut | Failed)
        | (SinkGone, Shut | Failed) => state,
    }
}
