pub mod event_loop;
pub mod token;
