package vfio

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// cdev is the name of a function's node in /dev/vfio/devices, "" for none.
func cdev(dir string) string {
	all, err := os.ReadDir(filepath.Join(dir, "vfio-dev"))
	if err != nil {
		return ""
	}
	for _, e := range all {
		if strings.HasPrefix(e.Name(), "vfio") {
			return e.Name()
		}
	}
	return ""
}

// Holders names the processes that have a file open: what an error says who is
// told that a device is busy.
func Holders(path string) string {
	names := HoldersOf(path)
	if names == nil {
		return "another process, which this user may not see"
	}
	return strings.Join(names, ", ")
}

// HoldersOf lists the processes that have a file open, as far as this user may
// look.
func HoldersOf(path string) (names []string) {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	seen := map[string]bool{}
	for _, fd := range fds {
		pid := strings.Split(fd, "/")[2]
		if n, err := strconv.Atoi(pid); err != nil || seen[pid] || n == os.Getpid() {
			continue
		}
		if to, err := os.Readlink(fd); err != nil || to != path {
			continue
		}
		seen[pid] = true
		comm, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		names = append(names, fmt.Sprintf("pid %s (%s)", pid, strings.TrimSpace(string(comm))))
	}
	return names
}
