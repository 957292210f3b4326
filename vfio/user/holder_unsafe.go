package user

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holder is a process at the other end of a server's socket.
type Holder struct {
	PID  int
	Name string
}

// From linux/unix_diag.h.
const (
	sockDiagByFamily = 20
	diagShowVFS      = 0x2
	diagShowPeer     = 0x4
	diagAttrVFS      = 1
	diagAttrPeer     = 2
	diagMsgSize      = 16
)

// Holders finds the clients of the server that listens on a socket: what an
// error says who is told that a card is busy. The kernel lists the connected
// sockets of that name with their peers (sock_diag(7)), and /proc who has
// them open, as far as we may look.
func Holders(path string) (out []Holder) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return nil
	}
	peers := map[string]bool{}
	for _, ino := range peersOf(uint32(st.Ino)) {
		peers[fmt.Sprintf("socket:[%d]", ino)] = true
	}
	if len(peers) == 0 {
		return nil
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	seen := map[int]bool{}
	for _, fd := range fds {
		pid, _ := strconv.Atoi(strings.Split(fd, "/")[2])
		if seen[pid] || pid == os.Getpid() {
			continue
		}
		if to, err := os.Readlink(fd); err != nil || !peers[to] {
			continue
		}
		seen[pid] = true
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		out = append(out, Holder{pid, strings.TrimSpace(string(name))})
	}
	return out
}

// peersOf returns the sockets at the other ends of the connections that were
// accepted on the socket file with an inode.
func peersOf(file uint32) (out []uint32) {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil
	}
	defer unix.Close(s)
	unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	const established = 1 << 1
	q := put32(40, sockDiagByFamily|(unix.NLM_F_REQUEST|unix.NLM_F_DUMP)<<16, 1, 0, // nlmsghdr
		unix.AF_UNIX, established, 0, diagShowVFS|diagShowPeer, 0, 0) // unix_diag_req
	if unix.Sendto(s, q, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return nil
	}
	b := make([]byte, 1<<16)
	for range 1000 { // bounded, whatever the machine has open
		n, _, err := unix.Recvfrom(s, b, 0)
		if err != nil {
			return out
		}
		for m := b[:n]; len(m) >= 16; {
			size, kind := int(le.Uint32(m)), le.Uint16(m[4:])
			if size < 16 || size > len(m) || kind == unix.NLMSG_DONE || kind == unix.NLMSG_ERROR {
				return out
			}
			if body := m[16:size]; len(body) >= diagMsgSize {
				if vfs, peer := diagAttrs(body[diagMsgSize:]); vfs == file && peer != 0 {
					out = append(out, peer)
				}
			}
			m = m[min(len(m), (size+3)&^3):]
		}
	}
	return out
}

// diagAttrs takes the inode of the file and of the peer out of attributes.
func diagAttrs(b []byte) (vfs, peer uint32) {
	for len(b) >= 8 {
		size, kind := int(le.Uint16(b)), le.Uint16(b[2:])
		if size < 4 || size > len(b) {
			return vfs, peer
		}
		if size >= 8 {
			switch kind {
			case diagAttrVFS:
				vfs = le.Uint32(b[4:])
			case diagAttrPeer:
				peer = le.Uint32(b[4:])
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return vfs, peer
}
