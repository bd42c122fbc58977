//! The configurations of the peers: one worker, no logs, and nothing else that slows them
//! down.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Uid;

/// Where Debian, Fedora and Arch keep nginx's stream module when it is not built in.
const MODULES: [&str; 3] = [
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "/usr/lib64/nginx/modules/ngx_stream_module.so",
    "/usr/lib/nginx/modules/stream/ngx_stream_module.so",
];

/// What a peer does on the address `listen`.
#[derive(Clone, Copy, Debug)]
pub enum Job<'a> {
    Proxy(SocketAddr),
    Files(&'a Path),
}

/// One worker in the foreground, access log off, sendfile on; everything else is nginx's
/// default. It does not cache open files, because the role `file` does not either.
pub fn nginx(listen: SocketAddr, job: Job, folder: &Path, backlog: u32) -> String {
    // Otherwise its worker becomes the user `nobody`, which cannot read our temporary folder.
    let user = if Uid::effective().is_root() {
        "user root;\n"
    } else {
        ""
    };
    let module = MODULES.iter().find(|path| Path::new(path).exists());
    let module = match (module, job) {
        (Some(path), Job::Proxy(_)) => format!("load_module {path};\n"),
        _ => String::new(), // built in, or not needed
    };
    let folder = folder.display();
    let service = match job {
        Job::Proxy(upstream) => format!(
            "stream {{\n  access_log off;\n  server {{\n    listen {listen} backlog={backlog};\n    \
             proxy_pass {upstream};\n  }}\n}}\n"
        ),
        Job::Files(public) => format!(
            "http {{\n  access_log off;\n  sendfile on;\n  client_body_temp_path {folder}/body;\n  \
             proxy_temp_path {folder}/proxy;\n  fastcgi_temp_path {folder}/fastcgi;\n  \
             uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n  server {{\n    \
             listen {listen} backlog={backlog};\n    root {};\n  }}\n}}\n",
            public.display()
        ),
    };
    format!(
        "{user}{module}daemon off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\n\
         error_log stderr crit;\npid {folder}/nginx.pid;\n\
         events {{\n  worker_connections 20000;\n  multi_accept on;\n}}\n{service}"
    )
}

/// One thread, TCP mode, no log. With `splice`, bytes go through kernel pipes in both
/// directions.
pub fn haproxy(listen: SocketAddr, upstream: SocketAddr, splice: bool, backlog: u32) -> String {
    // By default it wants a pipe for every fourth connection, which takes too many descriptors.
    let (pipes, splice) = match splice {
        true => (
            "  maxpipes 500\n",
            "  option splice-request\n  option splice-response\n",
        ),
        false => ("", ""),
    };
    format!(
        "global\n  nbthread 1\n  maxconn 9000\n{pipes}\
         defaults\n  mode tcp\n  maxconn 9000\n  backlog {backlog}\n{splice}  timeout connect 5s\n  \
         timeout client 10m\n  timeout server 10m\n\
         listen proxy\n  bind {listen}\n  server upstream {upstream}\n"
    )
}

/// A process for each connection, with a buffer of 64 KiB instead of its usual 8.
pub fn socat(listen: SocketAddr, upstream: SocketAddr, backlog: u32) -> Vec<String> {
    let from = format!(
        "TCP4-LISTEN:{},bind={},fork,reuseaddr,backlog={backlog}",
        listen.port(),
        listen.ip()
    );
    ["-b", "65536", &from, &format!("TCP4:{upstream}")]
        .map(str::to_owned)
        .into()
}

/// Writes a configuration where the peer will read it.
pub fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn nginx_proxies_or_serves_files() {
        let folder = Path::new("/folder");
        let proxy = nginx(address(1), Job::Proxy(address(2)), folder, 4096);
        for part in [
            "daemon off;",
            "worker_processes 1;",
            "listen 127.0.0.1:1 backlog=4096;",
            "proxy_pass 127.0.0.1:2;",
        ] {
            assert!(proxy.contains(part), "{proxy}");
        }
        let files = nginx(address(1), Job::Files(Path::new("/public")), folder, 4096);
        for part in ["access_log off;", "sendfile on;", "root /public;"] {
            assert!(files.contains(part), "{files}");
        }
        assert!(!files.contains("stream"), "{files}");
    }

    #[test]
    fn haproxy_splices_only_when_asked() {
        let plain = haproxy(address(1), address(2), false, 4096);
        for part in [
            "nbthread 1",
            "mode tcp",
            "bind 127.0.0.1:1",
            "upstream 127.0.0.1:2",
        ] {
            assert!(plain.contains(part), "{plain}");
        }
        assert!(!plain.contains("splice"), "{plain}");
        let splicing = haproxy(address(1), address(2), true, 4096);
        assert!(splicing.contains("option splice-request"), "{splicing}");
        assert!(splicing.contains("option splice-response"), "{splicing}");
    }
}
