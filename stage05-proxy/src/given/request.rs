//! Finds HTTP requests among the bytes of a client, to show them. The proxy itself passes on any
//! bytes.

/// The first line of `bytes` if it reads like `GET / HTTP/1.1`.
pub fn request_line(bytes: &[u8]) -> Option<&[u8]> {
    // Most chunks are not a request. That must show quickly, after a few bytes.
    let start = bytes.iter().take(32); // no method is longer
    let method = start.take_while(|byte| byte.is_ascii_uppercase());
    if bytes.get(method.count().max(1)) != Some(&b' ') {
        return None;
    }
    let line = bytes.split_inclusive(|&byte| byte == b'\n').next()?;
    let mut words = line.rsplit(|&byte| byte == b' ');
    words.next()?.starts_with(b"HTTP/").then_some(line)
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
            "GET / \n",
            "get / HTTP/1.1\n",
            " / HTTP/1.1\n",
            "",
            "\n",
            "G",
            "G ",
        ] {
            assert_eq!(request_line(other.as_bytes()), None, "{other}");
        }
    }
}
