//! Setting variables in a file that a shell reads, of which everything else is somebody else's.

/// `text` with these variables set to these values, each in single quotes. A variable that is
/// assigned already keeps its place; new ones are added at the end.
///
/// Assignments are those that stand at the beginning of a line and end with it, as in the files of
/// `/etc/sysconfig`; values that go over several lines are not known.
pub fn set_variables(text: &str, variables: &[(String, String)]) -> String {
    let mut lines = Vec::new();
    let mut open: Vec<_> = variables.iter().collect();
    for line in text.lines() {
        let is_set = |name: &str| assigned(line) == Some(name);
        if let Some(place) = open.iter().position(|(name, _)| is_set(name)) {
            lines.push(assignment(open.remove(place)));
        } else if !variables.iter().any(|(name, _)| is_set(name)) {
            lines.push(line.to_owned());
        }
    }
    lines.extend(open.into_iter().map(assignment));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn assigned(line: &str) -> Option<&str> {
    let (name, _) = line.trim_start().split_once('=')?;
    Some(name)
}

fn assignment((name, value): &(String, String)) -> String {
    format!("{name}='{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_changes() {
        let before = "# the list of servers\nSERVERS=\"\"\n\nPOLICY=\"auto\"\n  SERVERS=\"again\"\n#SEARCH=\"no\"\n";
        let variables = [
            ("SERVERS".to_owned(), "192.0.2.1 2001:db8::1".to_owned()),
            ("SEARCH".to_owned(), "it's".to_owned()),
        ];
        let after = "# the list of servers\nSERVERS='192.0.2.1 2001:db8::1'\n\nPOLICY=\"auto\"\n\
                     #SEARCH=\"no\"\nSEARCH='it'\\''s'\n";
        assert_eq!(set_variables(before, &variables), after);
        assert_eq!(set_variables(after, &variables), after);
        assert_eq!(set_variables("A=1", &[]), "A=1\n");
    }
}
