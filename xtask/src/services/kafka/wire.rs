//! One question of Kafka's protocol: which brokers does this one know? A port that is open says little; it is before the
//! broker has joined its cluster.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const LIMIT: Duration = Duration::from_secs(2);
const CORRELATION: [u8; 4] = *b"sfxt";
/// A metadata request (key 3) of version 1 from a client without a name, about no topics.
const REQUEST: [u8; 18] = {
    let mut request = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    let mut at = 0;
    while at < CORRELATION.len() {
        request[8 + at] = CORRELATION[at];
        at += 1;
    }
    request
};

/// How many brokers the one on this port knows, itself included.
pub(super) fn brokers_known_at(port: u16) -> Result<usize> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&REQUEST)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    brokers_known(head)
}

/// The answer begins with its length, our number and the count of brokers.
fn brokers_known(head: [u8; 12]) -> Result<usize> {
    let [_, _, _, _, c0, c1, c2, c3, n0, n1, n2, n3] = head;
    if [c0, c1, c2, c3] != CORRELATION {
        bail!("what answers is not Kafka");
    }
    usize::try_from(i32::from_be_bytes([n0, n1, n2, n3])).context("a count of brokers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_brokers_is_read_and_a_strangers_answer_is_not() {
        assert_eq!(brokers_known(*b"\0\0\0\x40sfxt\0\0\0\x03").unwrap(), 3);
        assert!(brokers_known(*b"HTTP/1.1 400").is_err());
        assert_eq!(&REQUEST[8..12], b"sfxt");
    }
}
