//! Who the program runs as: `--user`, `--group-add`, and the image's /etc/passwd and /etc/group.
//!
//! The files are hostile: they are read up to a limit, and a line that does not fit the format is passed over.

use std::str::FromStr;

use crate::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn accounts(text: &str) -> impl Iterator<Item = Account<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (_, uid, gid, _) = (fields.next()?, fields.next()?, fields.next()?, fields.next());
        Some(Account { name, uid: id(uid)?, gid: id(gid)?, home: fields.next().unwrap_or_default() })
    })
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (_, gid) = (fields.next()?, fields.next()?);
        Some(Group { name, gid: id(gid)?, members: fields.next().unwrap_or_default() })
    })
}

/// A number in a table. The kernel takes -1 for "leave it", which would leave root.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&id| id != u32::MAX)
}

/// A number as a name can be one: no sign, and within what Docker takes.
fn number(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match u32::from_str(text) {
        Ok(number) if number <= i32::MAX as u32 => Ok(Some(number)),
        _ => Err(Error::invalid("uids and gids must be in range 0-2147483647")),
    }
}

/// `user`, `user:group`, names or numbers, with the rules that Docker has. What can be a number is one: the image's
/// tables must not give another meaning to the number that the user asked for.
pub(crate) fn resolve(user: &str, add: &[String], passwd: &[u8], group: &[u8]) -> Result<Identity> {
    let (passwd, group) = (String::from_utf8_lossy(passwd), String::from_utf8_lossy(group));
    let (user, wanted_group) = user.split_once(':').unwrap_or((user, ""));
    let user = if user.is_empty() { "0" } else { user };
    let uid = number(user)?;
    let mut identity = Identity { uid: uid.unwrap_or(0), gid: 0, groups: Vec::new(), home: "/".to_owned() };
    let account = accounts(&passwd).find(|account| match uid {
        Some(uid) => account.uid == uid,
        None => account.name == user,
    });
    let mut name = None;
    match account {
        Some(account) => {
            (identity.uid, identity.gid, name) = (account.uid, account.gid, Some(account.name));
            if account.home.starts_with('/') {
                account.home.clone_into(&mut identity.home);
            }
        }
        None if uid.is_none() => {
            return Err(Error::invalid(format!("unable to find user {user}: no matching entries in passwd file")));
        }
        None => {}
    }
    let mut more = Vec::new();
    if wanted_group.is_empty() {
        let member = |group: &Group<'_>| name.is_some_and(|name| group.members.split(',').any(|member| member == name));
        more.extend(groups(&group).filter(member).map(|group| group.gid));
    } else {
        identity.gid = find_group(wanted_group, &group)?;
    }
    // The primary one is among them, or a program could leave it by one that is set-group-ID and get past files that
    // are closed to it (CVE-2022-36109).
    identity.groups.push(identity.gid);
    identity.groups.append(&mut more);
    for wanted in add {
        identity.groups.push(find_group(wanted, &group)?);
    }
    // Some kernels take no more than 32 (before 2.6.4) or 65536; a file of millions is an attack.
    identity.groups.dedup();
    if identity.groups.len() > 65_536 {
        return Err(Error::invalid(format!("user {user} has more than 65536 groups in the image's /etc/group")));
    }
    Ok(identity)
}

fn find_group(wanted: &str, text: &str) -> Result<u32> {
    if let Some(gid) = number(wanted)? {
        return Ok(gid);
    }
    let found = groups(text).find(|group| group.name == wanted).map(|group| group.gid);
    found.ok_or_else(|| Error::invalid(format!("unable to find group {wanted}: no matching entries in group file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken\n:x:1:1::/:\nweb:x:33:33:web:/srv/web:/bin/sh\n\
        big:x:99999999999:1::/:\nnohome:x:40:40\n";
    const GROUP: &[u8] = b"root:x:0:\nweb:x:33:\nadm:x:4:root,web\nlog:x:5:web\n\xff\xfe:x:6:web\n";

    fn ids(user: &str, add: &[&str]) -> (u32, u32, Vec<u32>, String) {
        let add: Vec<_> = add.iter().map(|&name| name.to_owned()).collect();
        let identity = resolve(user, &add, PASSWD, GROUP).unwrap();
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn names_numbers_and_groups_are_found() {
        let root = || "/root".to_owned();
        assert_eq!(ids("", &[]), (0, 0, vec![0, 4], root()));
        assert_eq!(ids("web", &[]), (33, 33, vec![33, 4, 5, 6], "/srv/web".to_owned()));
        assert_eq!(ids("33", &[]), (33, 33, vec![33, 4, 5, 6], "/srv/web".to_owned()));
        assert_eq!(ids("web:adm", &[]), (33, 4, vec![4], "/srv/web".to_owned()));
        assert_eq!(ids("root:77", &["log", "78"]), (0, 77, vec![77, 5, 78], root()));
        assert_eq!(ids("1234", &[]), (1234, 0, vec![0], "/".to_owned()));
        assert_eq!(ids("nohome", &[]), (40, 40, vec![40], "/".to_owned()));
    }

    #[test]
    fn no_table_gives_a_number_another_meaning() {
        let passwd = b"1000:x:0:0::/:/bin/sh\nall:x:4294967295:4294967295::/:\n";
        let group = b"1000:x:0:\nwheel:x:0:1000\nall:x:4294967295:\n";
        let identity = resolve("1000:1000", &["1000".to_owned()], passwd, group).unwrap();
        assert_eq!((identity.uid, identity.gid, identity.groups), (1000, 1000, vec![1000]));
        let identity = resolve("1000", &[], passwd, group).unwrap();
        assert_eq!((identity.uid, identity.groups), (1000, vec![0]));
        assert!(resolve("all", &[], passwd, group).is_err());
        assert!(resolve("0:all", &[], passwd, group).is_err());
    }

    #[test]
    fn what_is_not_there_is_said() {
        for (user, words) in [
            ("none", "unable to find user none"),
            ("big", "unable to find user big"),
            ("root:none", "unable to find group none"),
            ("4294967295", "must be in range"),
            ("root:99999999999", "must be in range"),
        ] {
            let message = resolve(user, &[], PASSWD, GROUP).unwrap_err().to_string();
            assert!(message.contains(words), "{user}: {message}");
        }
    }

    #[test]
    fn an_image_without_files_has_numbers_only() {
        let identity = resolve("5:6", &[], b"", b"").unwrap();
        assert_eq!((identity.uid, identity.gid), (5, 6));
        assert!(resolve("web", &[], b"", b"").is_err());
    }
}
