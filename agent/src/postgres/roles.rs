//! The roles that the cluster lives by. What keeps its own from their work is mended at once; what somebody did to the
//! application's is told, and mended when an apply takes it back, as a setting given by ALTER SYSTEM is.

use std::collections::BTreeMap;
use std::time::Duration;

use pgha_schema::desired::Desired;
use pgha_schema::names::{ROLE_REPLICATION, database_inside, role_inside};
use tokio_postgres::Row;

use super::session::{Session, SessionError};
use super::sql::SettingsFacts;
use super::tools::identifier;

/// Whoever holds a role's row is not waited for: this session may be the last one that the superuser can have.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";

/// What a look at them shows.
struct RolesFacts {
    /// One of the cluster's own can't do its work.
    own_altered: bool,
    /// What is told of the application's role and database, under the names of [`role_inside`] and [`database_inside`].
    told: BTreeMap<String, String>,
}

/// Looks at the roles of a primary, mends what is to be mended, and adds to the settings what is told. What an apply takes back
/// and is not mended yet counts as a setting that is not what it should be: nobody acknowledges the document before.
pub async fn keep(
    session: &Session,
    superuser: &str,
    wish: &Desired,
    settings: &mut SettingsFacts,
    deadline: Duration,
) -> Result<(), SessionError> {
    let facts = look(session, superuser, wish, deadline).await?;
    let taken_back = facts.told.keys().any(|name| wish.taken_back.contains(name));
    settings.tampered |= taken_back;
    settings.altered.extend(facts.told.into_iter().filter(|(name, _)| !wish.taken_back.contains(name)));
    if facts.own_altered || taken_back {
        for statement in mending(superuser, wish) {
            match session.execute(&format!("{LOCK_TIMEOUT}; {statement}"), deadline).await {
                Ok(()) => tracing::warn!(statement, "a role was altered, and is mended"),
                Err(SessionError::Refused { message, .. }) => {
                    tracing::warn!(statement, message, "a role was altered, and can't be mended now");
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A role's attributes, as far as they decide whether it can do its work.
struct Attributes {
    login: bool,
    superuser: bool,
    replication: bool,
    connections: i32,
    valid_until: String,
}

impl Attributes {
    fn of(row: &Row) -> Self {
        Self {
            login: row.get(1),
            superuser: row.get(2),
            replication: row.get(3),
            connections: row.get(4),
            valid_until: row.get(5),
        }
    }

    /// What keeps it from logging in, as SQL says it; empty: nothing.
    fn hindrance(&self) -> String {
        let limit = (self.connections == 0).then(|| "CONNECTION LIMIT 0".to_owned());
        let until =
            (self.valid_until != "infinity").then(|| format!("PASSWORD VALID UNTIL '{}'", self.valid_until));
        let words = (!self.login).then(|| "NOLOGIN".to_owned()).into_iter().chain(limit).chain(until);
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Looks at the superuser, the replication role, and the application's role and database. A role or database that is gone is
/// told of by nobody: what was in it is nobody's to make up, and its absence is what its users see first.
async fn look(
    session: &Session,
    superuser: &str,
    wish: &Desired,
    deadline: Duration,
) -> Result<RolesFacts, SessionError> {
    let (owner, database) = (wish.bootstrap.owner.as_str(), wish.bootstrap.database.as_str());
    let all = [superuser, ROLE_REPLICATION, owner];
    let rows = session
        .query(
            "select rolname::text, rolcanlogin, rolsuper, rolreplication, rolconnlimit, \
             coalesce(rolvaliduntil, 'infinity')::text from pg_roles where rolname = any($1)",
            &[&all.as_slice()],
            deadline,
        )
        .await?;
    let roles: BTreeMap<String, Attributes> =
        rows.iter().map(|row| (row.get(0), Attributes::of(row))).collect();
    let works = |role: &str, may: fn(&Attributes) -> bool| {
        roles.get(role).is_some_and(|role| may(role) && role.hindrance().is_empty())
    };
    let own_altered =
        !works(superuser, |role| role.superuser) || !works(ROLE_REPLICATION, |role| role.replication);
    let mut told = BTreeMap::new();
    if let Some(role) = roles.get(owner).filter(|_| owner != superuser) {
        told.insert(role_inside(owner), role.hindrance());
    }
    let of = "select pg_get_userbyid(datdba)::text from pg_database where datname = $1";
    let rows = session.query(of, &[&database], deadline).await?;
    if let Some(held_by) =
        rows.first().map(|row| row.get::<_, String>(0)).filter(|_| roles.contains_key(owner))
    {
        let text = if held_by == owner { String::new() } else { format!("OWNER TO {held_by}") };
        told.insert(database_inside(database), text);
    }
    told.retain(|_, text| !text.is_empty());
    Ok(RolesFacts { own_altered, told })
}

/// The statements that let the cluster's own roles work again, and the application's where an apply takes back what was done to it.
fn mending(superuser: &str, wish: &Desired) -> Vec<String> {
    let usable = "LOGIN CONNECTION LIMIT -1 VALID UNTIL 'infinity'";
    let (owner, database) = (wish.bootstrap.owner.as_str(), wish.bootstrap.database.as_str());
    let mut statements = vec![
        format!("ALTER ROLE {} SUPERUSER {usable}", identifier(superuser)),
        format!("ALTER ROLE {ROLE_REPLICATION} REPLICATION {usable}"),
    ];
    if wish.taken_back.contains(&role_inside(owner)) {
        statements.push(format!("ALTER ROLE {} {usable}", identifier(owner)));
    }
    if wish.taken_back.contains(&database_inside(database)) {
        statements.push(format!("ALTER DATABASE {} OWNER TO {}", identifier(database), identifier(owner)));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hindrance_is_named_and_only_those() {
        let usable = || Attributes {
            login: true,
            superuser: false,
            replication: false,
            connections: 20,
            valid_until: "infinity".to_owned(),
        };
        assert_eq!(usable().hindrance(), "");
        let barred = Attributes {
            login: false,
            connections: 0,
            valid_until: "2026-01-01 00:00:00+00".to_owned(),
            ..usable()
        };
        assert_eq!(
            barred.hindrance(),
            "NOLOGIN, CONNECTION LIMIT 0, PASSWORD VALID UNTIL '2026-01-01 00:00:00+00'"
        );
    }
}
