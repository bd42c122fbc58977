//! What the proxy prints about a connection: the requests in it if it is HTTP, its size otherwise.

use stage05_proxy::given::show::show_message;

/// Appends the `[CLIENT MESSAGE] …` for a connection whose bytes were not shown: how
/// many came from the client and from the upstream.
pub fn show_totals([client, upstream]: [u64; 2], shown: &mut String) {
    let text = format!("{client} bytes from client, {upstream} bytes from upstream");
    show_message(text.as_bytes(), shown);
}

/// The first line of `bytes` if it reads like `GET / HTTP/1.1`. Anything else a client
/// may send to an upstream is not for a terminal.
pub fn request_line(bytes: &[u8]) -> Option<&[u8]> {
    let line = bytes.split_inclusive(|&byte| byte == b'\n').next()?;
    is_request(split_ending(line).0).then_some(line)
}

/// A method, a target and a version (RFC 9112, section 3).
fn is_request(text: &[u8]) -> bool {
    let words: Vec<&[u8]> = text.splitn(4, |&byte| byte == b' ').collect();
    matches!(words[..], [method, target, version]
        if !method.is_empty() && method.iter().all(u8::is_ascii_uppercase)
            && !target.is_empty() && version.starts_with(b"HTTP/"))
}

/// A line as `(text, ending)`. A `\r` that no `\n` follows belongs to the text.
fn split_ending(line: &[u8]) -> (&[u8], &[u8]) {
    let ending = match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    };
    line.split_at(line.len() - ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_line_is_shown_as_one() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(request_line(request), Some(&b"GET / HTTP/1.1\r\n"[..]));
        assert_eq!(request_line(&request[..14]), Some(&b"GET / HTTP/1.1"[..]));
        for other in [
            "hello\n",
            "GET /\n",
            "get / HTTP/1.1\n",
            " / HTTP/1.1\n",
            "GET  HTTP/1.1\n",
            "",
            "\n",
            "G",
        ] {
            assert_eq!(request_line(other.as_bytes()), None, "{other}");
        }
    }
}
