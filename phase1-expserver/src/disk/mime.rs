//! The media type of a file, by its name: [`media_type`]. It never looks into the file.
//!
//! So far only tests use it, because the roles send plain bytes. A later stage, which answers in
//! HTTP, needs it.

use std::path::Path;

/// The media type of a file with this name (RFC 6838); `application/octet-stream`, which means
/// "bytes", if the extension is missing or unknown.
pub fn media_type(path: &Path) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.as_encoded_bytes() {
        b"html" | b"htm" => "text/html",
        b"css" => "text/css",
        b"js" | b"mjs" => "text/javascript",
        b"txt" | b"log" => "text/plain",
        b"md" => "text/markdown",
        b"csv" => "text/csv",
        b"xml" => "text/xml",
        b"json" => "application/json",
        b"pdf" => "application/pdf",
        b"wasm" => "application/wasm",
        b"zip" => "application/zip",
        b"gz" => "application/gzip",
        b"tar" => "application/x-tar",
        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"svg" => "image/svg+xml",
        b"webp" => "image/webp",
        b"ico" => "image/vnd.microsoft.icon",
        b"mp3" => "audio/mpeg",
        b"mp4" => "video/mp4",
        b"webm" => "video/webm",
        b"woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_extension_decides() {
        let cases = [
            ("sample.txt", "text/plain"),
            ("INDEX.HTML", "text/html"),
            ("a/b.c/photo.jpeg", "image/jpeg"),
            ("archive.tar.gz", "application/gzip"),
            ("folder.txt/name", "application/octet-stream"),
            (".txt", "application/octet-stream"), // a hidden file without an extension
            ("name.", "application/octet-stream"),
            ("", "application/octet-stream"),
        ];
        for (name, expected) in cases {
            assert_eq!(media_type(Path::new(name)), expected, "{name:?}");
        }
    }
}
