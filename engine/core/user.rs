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
        Some(Account { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: fields.next().unwrap_or_default() })
    })
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (_, gid) = (fields.next()?, fields.next()?);
        Some(Group { name, gid: gid.parse().ok()?, members: fields.next().unwrap_or_default() })
    })
}

/// A number as a name can be one: no sign, and within what the kernel takes (-1 means "leave it").
fn number(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match u32::from_str(text) {
        Ok(number) if number <= i32::MAX as u32 => Ok(Some(number)),
        _ => Err(Error::invalid("uids and gids must be in range 0-2147483647")),
    }
}

/// `user`, `user:group`, names or numbers, with the rules that runc has.
pub(crate) fn resolve(user: &str, add: &[String], passwd: &[u8], group: &[u8]) -> Result<Identity> {
    let (passwd, group) = (String::from_utf8_lossy(passwd), String::from_utf8_lossy(group));
    let (user, wanted_group) = user.split_once(':').unwrap_or((user, ""));
    let user = if user.is_empty() { "0" } else { user };
    let uid = number(user)?;
    let mut identity = Identity { uid: uid.unwrap_or(0), gid: 0, groups: Vec::new(), home: "/".to_owned() };
    let account = accounts(&passwd).find(|account| account.name == user || uid == Some(account.uid));
    let mut name = user;
    match account {
        Some(account) => {
            (identity.uid, identity.gid, name) = (account.uid, account.gid, account.name);
            if account.home.starts_with('/') {
                account.home.clone_into(&mut identity.home);
            }
        }
        None if uid.is_none() => {
            return Err(Error::invalid(format!("unable to find user {user}: no matching entries in passwd file")));
        }
        None => {}
    }
    if wanted_group.is_empty() {
        let member = |group: &Group<'_>| group.members.split(',').any(|member| member == name);
        identity.groups.extend(groups(&group).filter(member).map(|group| group.gid));
    } else {
        identity.gid = find_group(wanted_group, &group)?;
    }
    for wanted in add {
        identity.groups.push(find_group(wanted, &group)?);
    }
    // Without it among the others, a program that changes its group is no longer kept out by permissions that a
    // file takes from that group (CVE-2022-36109).
    identity.groups.insert(0, identity.gid);
    // Some kernels take no more than 32 (before 2.6.4) or 65536; a file of millions is an attack.
    identity.groups.dedup();
    if identity.groups.len() > 65_536 {
        return Err(Error::invalid(format!("user {user} has more than 65536 groups in the image's /etc/group")));
    }
    Ok(identity)
}

fn find_group(wanted: &str, text: &str) -> Result<u32> {
    let gid = number(wanted)?;
    let found = groups(text).find(|group| group.name == wanted || gid == Some(group.gid)).map(|group| group.gid);
    found
        .or(gid)
        .ok_or_else(|| Error::invalid(format!("unable to find group {wanted}: no matching entries in group file")))
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
