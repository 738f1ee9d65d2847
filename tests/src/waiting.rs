//! Waiting for what becomes so by itself.

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

/// Looks every now and then whether something is so, until it is.
///
/// # Errors
/// It does not become so before patience ends, or it cannot be found out.
pub(crate) fn until(
    patience: Duration,
    what: &str,
    mut so: impl FnMut() -> Result<bool, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while !so()? {
        if start.elapsed() > patience {
            return Err(format!("waited in vain: {what}").into());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_it_is_so_when_it_cannot_be_known_and_when_patience_ends() {
        let mut looked = 0;
        let mut third = || {
            looked += 1;
            Ok(looked == 3)
        };
        assert!(until(Duration::MAX, "the third time", &mut third).is_ok());
        assert_eq!(looked, 3);
        let said = until(Duration::ZERO, "never", || Ok(false)).map_err(|error| error.to_string());
        assert_eq!(said, Err("waited in vain: never".to_owned()));
        assert!(until(Duration::MAX, "no answer", || Err("no answer".into())).is_err());
    }
}
