//! PostgreSQL settings.
use crate::validators::Problem;
/// Checks a name.
pub fn check_name(_name: &str) -> Result<(), Problem> {
    Ok(())
}
