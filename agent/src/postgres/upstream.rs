//! Whether an upstream still has the WAL that a waiting standby needs. Postgres only logs that it has not, so the
//! agent looks for the file itself, with the rights that pg_rewind needs anyway.

use std::net::IpAddr;
use std::time::Duration;

use pgha_schema::lsn::Lsn;
use pgha_schema::names::ROLE_REPLICATION;
use tokio_postgres::{Config, NoTls};

const DEADLINE: Duration = Duration::from_secs(3);

/// A stream that is seen for this long without a break is one.
const STREAM_MS: u64 = 3_000;

/// Since when a standby waits for its stream. A receiver that is refused the WAL which it asks for is started again ten times
/// a second, and each time it is seen as streaming for a moment: that ends no drought.
#[derive(Debug, Default)]
pub struct Drought {
    since_ms: Option<u64>,
    streaming_since_ms: Option<u64>,
}

impl Drought {
    /// For how long it has lasted, now that the stream is seen to be there or not; `None`: there is none.
    pub fn lasts_ms(&mut self, streaming: bool, now: u64) -> Option<u64> {
        if !streaming {
            self.streaming_since_ms = None;
            return Some(now.saturating_sub(*self.since_ms.get_or_insert(now)));
        }
        let since_ms = self.since_ms?;
        let streaming_since_ms = *self.streaming_since_ms.get_or_insert(now);
        (now < streaming_since_ms + STREAM_MS).then(|| now.saturating_sub(since_ms))
    }

    /// The upstream is asked now: the time until the next question begins.
    pub fn counts_again(&mut self, now: u64) {
        self.since_ms = Some(now);
    }
}

/// `true` only when the upstream leads, has written past the segment of `position`, and has no file of that segment on
/// any timeline; every doubt is an error.
pub async fn lacks_wal(address: IpAddr, port: u16, password: &str, position: Lsn) -> Result<bool, String> {
    let look = async {
        let mut config = Config::new();
        config
            .hostaddr(address)
            .host(address.to_string())
            .port(port)
            .user(ROLE_REPLICATION)
            .password(password)
            .dbname("postgres")
            .application_name("pgha_job");
        let (client, connection) = config.connect(NoTls).await.map_err(|error| error.to_string())?;
        let task = tokio::spawn(async move { drop(connection.await) });
        let rows = client
            .query(
                "with seen as (select pg_size_bytes(current_setting('wal_segment_size')) as bytes, \
                   ('x' || lpad(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 16, '0'))::bit(64)::int8 as tli, \
                   ($1::text::pg_lsn - '0/0'::pg_lsn)::int8 as wanted, \
                   (pg_current_wal_lsn() - '0/0'::pg_lsn)::int8 as written) \
                 select written / bytes > wanted / bytes and not exists ( \
                   select from generate_series(1, tli) t \
                   where (pg_stat_file(format('pg_wal/%s%s%s', lpad(upper(to_hex(t)), 8, '0'), \
                     lpad(upper(to_hex(wanted >> 32)), 8, '0'), \
                     lpad(upper(to_hex((wanted & 4294967295) / bytes)), 8, '0')), true)).size is not null) \
                 from seen",
                &[&position.to_string()],
            )
            .await
            .map_err(|error| error.to_string());
        task.abort();
        Ok::<bool, String>(rows?.first().is_some_and(|row| row.get::<_, Option<bool>>(0) == Some(true)))
    };
    tokio::time::timeout(DEADLINE, look).await.map_err(|_| "no answer in time".to_owned())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_comes_and_goes_ends_no_drought_and_a_stream_that_stays_does() {
        let mut drought = Drought::default();
        assert_eq!(drought.lasts_ms(true, 500), None, "a stream from the beginning");
        for now in (1_000..9_000).step_by(500) {
            assert_eq!(drought.lasts_ms(now % 1_000 != 0, now), Some(now - 1_000));
        }
        drought.counts_again(9_000);
        assert_eq!(drought.lasts_ms(false, 9_100), Some(100));
        assert_eq!(drought.lasts_ms(true, 9_200), Some(200));
        assert_eq!(drought.lasts_ms(true, 9_200 + STREAM_MS), None);
    }
}
