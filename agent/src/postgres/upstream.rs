//! Whether an upstream still has the WAL that a waiting standby needs. Postgres only logs that it has not, so the
//! agent looks for the file itself, with the rights that pg_rewind needs anyway.

use std::net::IpAddr;
use std::time::Duration;

use pgha_schema::lsn::Lsn;
use pgha_schema::names::ROLE_REPLICATION;
use tokio_postgres::{Config, NoTls};

const DEADLINE: Duration = Duration::from_secs(3);

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
