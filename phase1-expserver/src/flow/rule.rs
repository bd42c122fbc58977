//! How a direction ends: [`rule`], with its states and events.

/// The state of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The source may bring more bytes.
    Open,
    /// No more bytes will come; those that are held are still delivered.
    Draining,
    /// All bytes were delivered, and the sink has been shut.
    Shut,
    /// The sink is gone, or the source broke. The bytes that were held have been dropped.
    Failed,
}

/// What can happen to one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The source has given its last byte: an end of stream, or a connection that has failed.
    SourceEnded,
    /// The source cannot be read to its end: what it has given is only a part.
    SourceBroken,
    /// The pipe has become empty.
    Emptied,
    /// The sink has failed, or the session gives it up.
    SinkGone,
}

/// The next state of a direction. The session decides what that means for the two ends.
pub fn rule(state: State, event: Event) -> State {
    use Event::*;
    use State::*;
    match (event, state) {
        // What the source gave before its end is still delivered.
        (SourceEnded, Open) => Draining,
        (Emptied, Draining) => Shut,
        // The receiver can no longer get everything, so what is held is of no use.
        (SourceBroken, Open) => Failed,
        // There is no receiver any more.
        (SinkGone, Open | Draining) => Failed,
        // Nothing changes: the source or the direction has ended before, or an open pipe has become
        // empty.
        (SourceEnded | SourceBroken, Draining | Shut | Failed)
        | (Emptied, Open | Shut | Failed)
        | (SinkGone, Shut | Failed) => state,
    }
}
