//! Whether the kernel has ended processes for want of memory: its own count, of the cgroup that a cell is in.
//!
//! Source: `oom_kill` of `memory.events` (Documentation/admin-guide/cgroup-v2.rst of Linux) and of `memory.oom_control`
//! (cgroup-v1/memory.rst): processes of the cgroup, and of those below it, that any kind of OOM killer has ended. It is counted
//! before the signal is sent.
use std::{
    fs,
    path::{Path, PathBuf},
};

/// For tests: a folder that stands for `/sys/fs/cgroup`, in which every cell is at the top.
pub const CGROUP_VARIABLE: &str = "TACHO_TEST_CGROUP";
const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup's count since some moment.
#[derive(Debug)]
pub(super) struct OomKills {
    file: Option<PathBuf>,
    before: Option<u64>,
}

impl OomKills {
    /// From now on, of the cgroup that a process is in.
    pub fn watch(pid: u32) -> Self {
        match std::env::var_os(CGROUP_VARIABLE) {
            Some(folder) => Self::begin("0::/", Path::new(&folder)),
            None => {
                Self::begin(&fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default(), Path::new(ROOT))
            }
        }
    }

    /// Of a process whose `/proc/PID/cgroup` is `membership`, where the cgroups are below `root`.
    fn begin(membership: &str, root: &Path) -> Self {
        let file = files(membership, root).into_iter().find(|file| count(file).is_some());
        Self { before: file.as_deref().and_then(count), file }
    }

    /// How many since then; None where the kernel does not tell.
    pub fn since(&self) -> Option<u64> {
        Some(count(self.file.as_deref()?)?.saturating_sub(self.before?))
    }
}

/// Where the count may be, the most particular place first. In a container the path may be the host's, and what is mounted the
/// container's own part.
fn files(membership: &str, root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (tops, file): (&[PathBuf], _) = match controllers {
            // With cgroup v1 beside it, v2 is mounted in a folder.
            "" => (&[root.to_owned(), root.join("unified")], "memory.events"),
            list if list.split(',').any(|name| name == "memory") => (&[root.join("memory")], "memory.oom_control"),
            _ => continue,
        };
        let below = path.trim_start_matches('/');
        files.extend(tops.iter().flat_map(|top| [top.join(below).join(file), top.join(file)]));
    }
    files
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_count_of_the_cells_own_cgroup_is_taken_in_both_versions() {
        let events = |kills| format!("low 0\nhigh 4\nmax 90\noom 9\noom_kill {kills}\noom_group_kill 0\n");
        let control = |kills| format!("oom_kill_disable 0\nunder_oom 1\noom_kill {kills}\n");
        for (membership, file, text) in [
            ("0::/user.slice/a.scope\n", "user.slice/a.scope/memory.events", &events as &dyn Fn(u32) -> String),
            // The host's path, where only the container's own part is mounted.
            ("0::/docker/0123\n", "memory.events", &events),
            ("5:cpu,cpuacct:/x\n4:memory:/x\n0::/x\n", "memory/x/memory.oom_control", &control),
            ("4:memory:/docker/0123\n", "memory/memory.oom_control", &control),
        ] {
            let root = tempfile::tempdir().unwrap();
            write(root.path(), file, &text(2));
            // Another's.
            write(root.path(), "other/memory.events", &events(7));
            let kills = OomKills::begin(membership, root.path());
            assert_eq!(kills.since(), Some(0), "{membership}");
            write(root.path(), file, &text(3));
            assert_eq!(kills.since(), Some(1), "{membership}");
            fs::remove_file(root.path().join(file)).unwrap();
            assert_eq!(kills.since(), None, "{membership}");
        }
    }

    #[test]
    fn a_count_that_cannot_be_read_is_none() {
        let root = tempfile::tempdir().unwrap();
        for membership in ["", "0::/a\n", "nonsense\n", "3:cpu:/a\n"] {
            assert_eq!(OomKills::begin(membership, root.path()).since(), None, "{membership}");
        }
        // Of a kernel before 4.13.
        write(root.path(), "memory.events", "low 0\nhigh 0\nmax 0\noom 0\n");
        assert_eq!(OomKills::begin("0::/\n", root.path()).since(), None);
    }
}
