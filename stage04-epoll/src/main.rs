mod console;
mod reverse;
mod show;
fn main() {
    console::start_logger(0, false);
    let mut m = console::Messages::default();
    m.add(|s| show::show_message(b"hi", s));
    m.flush();
}
