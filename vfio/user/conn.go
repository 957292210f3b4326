package user

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds on waiting for a peer.
const (
	// stallBound: a message whose first byte has come must be there by then,
	// and one that is sent must be taken.
	stallBound = 5 * time.Second
	// DefaultTimeout is how long a peer may take to answer. QEMU gives up
	// after five seconds; a device must be sooner.
	DefaultTimeout = 5 * time.Second
)

// Errors of a connection.
var (
	// ErrDisconnected: the peer has gone, or was hung up on.
	ErrDisconnected = errors.New("vfio-user: disconnected")
	// ErrProtocol: the peer broke the protocol; the connection is closed.
	ErrProtocol = errors.New("vfio-user: peer broke the protocol")
	// ErrTimeout: the peer did not answer; the connection is closed, since a
	// late answer could be taken for that to another question.
	ErrTimeout = errors.New("vfio-user: peer did not answer in time")
)

// Refusal is an error reply of the peer.
type Refusal struct {
	Command Command
	Errno   Errno
}

func (e *Refusal) Error() string {
	if e.Errno == 0 {
		return fmt.Sprintf("vfio-user: %s refused", e.Command)
	}
	return fmt.Sprintf("vfio-user: %s refused: %s", e.Command, e.Errno.Error())
}

func (e *Refusal) Unwrap() error { return e.Errno }

// message is a received message. Body is valid until the next read; the
// descriptors belong to whoever holds the message.
type message struct {
	header
	body []byte
	fds  []int
}

func (m *message) close() {
	closeFDs(m.fds)
	m.fds = nil
}

// takeFDs makes the descriptors the caller's.
func (m *message) takeFDs() []int {
	fds := m.fds
	m.fds = nil
	return fds
}

// conn is a socket with messages on it. One goroutine reads; any may write.
type conn struct {
	c       *net.UnixConn
	maxBody int

	head [headerSize]byte
	oob  []byte
	body []byte

	wmu  sync.Mutex
	wbuf []byte
	sent atomic.Uint64 // messages

	dead   atomic.Bool // there is an err
	mu     sync.Mutex
	calls  map[uint16]*call
	lastID uint16
	err    error // why the connection ended
	closed chan struct{}
}

// call is a question that waits for its answer.
type call struct {
	cmd   Command
	reply []byte // room for the payload
	n     int
	fds   []int
	err   error
	done  chan struct{}

	abandoned bool // nobody waits any more; the answer may still come
}

func newConn(c *net.UnixConn) *conn {
	return &conn{c: c, maxBody: MaxTransfer + accessSize, oob: make([]byte, oobSize), calls: map[uint16]*call{}, closed: make(chan struct{})}
}

// fail ends the connection, for a reason, and with it every call under way.
func (c *conn) fail(why error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = why
	c.dead.Store(true)
	calls := c.calls
	c.calls = nil
	close(c.closed)
	c.mu.Unlock()
	for _, k := range calls {
		k.err = why
		close(k.done)
	}
	// The reader wakes, and closes the socket when all is put away: that is
	// how the peer knows.
	c.c.CloseRead()
}

// reason is why the connection ended, nil while it has not.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// read takes the next message off the socket. Any error ends the connection:
// after it nobody knows where the next message would begin.
func (c *conn) read() (m message, err error) {
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	for n := 0; n < headerSize; {
		k, oobn, flags, _, err := c.c.ReadMsgUnix(c.head[n:], c.oob)
		if oobn > 0 {
			fds, rerr := rights(c.oob[:oobn], flags)
			m.fds = append(m.fds, fds...)
			if rerr != nil {
				return m, fmt.Errorf("%w: %w", ErrProtocol, rerr)
			}
			if len(m.fds) > MaxFDs {
				return m, fmt.Errorf("%w: more than %d file descriptors in a message", ErrProtocol, MaxFDs)
			}
		}
		if err != nil || k == 0 {
			return m, c.readError(n, err)
		}
		if n == 0 {
			c.c.SetReadDeadline(time.Now().Add(stallBound))
		}
		n += k
	}
	m.header = getHeader(c.head[:])
	if m.Size < headerSize || int64(m.Size) > int64(headerSize+c.maxBody) {
		return m, fmt.Errorf("%w: %s of %d bytes", ErrProtocol, m.Cmd, m.Size)
	}
	if t := m.Flags & typeMask; t != typeCommand && t != typeReply {
		return m, fmt.Errorf("%w: message of type %d", ErrProtocol, t)
	}
	n := int(m.Size) - headerSize
	if cap(c.body) < n {
		c.body = make([]byte, max(n, 4096))
	}
	m.body = c.body[:n]
	// Descriptors that come with the body are not asked for: the kernel
	// drops them.
	if got, err := io.ReadFull(c.c, m.body); err != nil {
		return m, c.readError(headerSize+got, err)
	}
	c.c.SetReadDeadline(time.Time{})
	return m, nil
}

func (c *conn) readError(got int, err error) error {
	if why := c.reason(); why != nil {
		return why
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: message stalled after %d bytes", ErrTimeout, got)
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if got > 0 {
			return fmt.Errorf("%w in a message, after %d bytes", ErrDisconnected, got)
		}
		return ErrDisconnected
	}
	return fmt.Errorf("%w: %w", ErrDisconnected, err)
}

// write sends one message; parts are the pieces of its payload. It is one
// message whoever else writes.
func (c *conn) write(h header, fds []int, parts ...[]byte) error {
	n := headerSize
	for _, p := range parts {
		n += len(p)
	}
	h.Size = uint32(n)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if cap(c.wbuf) < n {
		c.wbuf = make([]byte, 0, max(n, 4096))
	}
	b := c.wbuf[:headerSize]
	h.put(b)
	for _, p := range parts {
		b = append(b, p...)
	}
	c.sent.Add(1)
	c.c.SetWriteDeadline(time.Now().Add(stallBound))
	k, _, err := c.c.WriteMsgUnix(b, sendRights(fds), nil)
	if err == nil && k < len(b) {
		_, err = c.c.Write(b[k:])
	}
	if err == nil {
		return nil
	}
	if why := c.reason(); why != nil {
		return why
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: it does not read", ErrTimeout)
	} else {
		err = fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	c.fail(err) // part of a message may be out
	return err
}

// answer replies to a command, unless it wants none.
func (c *conn) answer(to header, errno Errno, fds []int, parts ...[]byte) error {
	if to.Flags&flagNoReply != 0 {
		return nil
	}
	h := header{ID: to.ID, Cmd: to.Cmd, Flags: typeReply}
	if errno != 0 {
		h.Flags |= flagError
		h.Errno = uint32(errno)
		return c.write(h, nil)
	}
	return c.write(h, fds, parts...)
}

// ask sends a command and waits for its answer, whose payload is copied to
// reply. fds of the answer are the caller's.
func (c *conn) ask(cmd Command, timeout time.Duration, reply []byte, fds []int, parts ...[]byte) (n int, got []int, err error) {
	return c.askUntil(nil, cmd, timeout, reply, fds, parts...)
}

// errAbandoned is a call that was given up before its answer came.
var errAbandoned = errors.New("vfio-user: given up")

// askUntil is ask, but that the call is given up when stop is closed.
func (c *conn) askUntil(stop <-chan struct{}, cmd Command, timeout time.Duration, reply []byte, fds []int, parts ...[]byte) (n int, got []int, err error) {
	k := &call{cmd: cmd, reply: reply, done: make(chan struct{})}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return 0, nil, c.err
	}
	if len(c.calls) >= 1<<15 {
		c.mu.Unlock()
		return 0, nil, errors.New("vfio-user: too many calls under way")
	}
	for c.lastID++; c.calls[c.lastID] != nil; c.lastID++ {
	}
	id := c.lastID
	c.calls[id] = k
	c.mu.Unlock()
	if err := c.write(header{ID: id, Cmd: cmd, Flags: typeCommand}, fds, parts...); err != nil {
		<-k.done        // write has failed the connection, and with it the call
		closeFDs(k.fds) // or a peer answered before it was asked
		return 0, nil, err
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-k.done:
	case <-stop:
		c.mu.Lock()
		k.abandoned = c.calls[id] == k
		c.mu.Unlock()
		if k.abandoned {
			return 0, nil, errAbandoned
		}
		<-k.done // the answer is here, or the connection has ended
	case <-t.C:
		c.fail(fmt.Errorf("%w: %s, %v", ErrTimeout, cmd, timeout))
		<-k.done // the answer may have come meanwhile
	}
	return k.n, k.fds, k.err
}

// tell sends a command that wants no answer.
func (c *conn) tell(cmd Command, parts ...[]byte) error {
	if err := c.reason(); err != nil {
		return err
	}
	return c.write(header{Cmd: cmd, Flags: typeCommand | flagNoReply}, nil, parts...)
}

// deliver hands an answer to whoever asked. An answer to nothing, or of
// another kind, breaks the protocol.
func (c *conn) deliver(m *message) error {
	c.mu.Lock()
	k := c.calls[m.ID]
	delete(c.calls, m.ID)
	abandoned := k != nil && k.abandoned
	c.mu.Unlock()
	if k == nil {
		return fmt.Errorf("%w: answer %d (%s) to nothing that was asked", ErrProtocol, m.ID, m.Cmd)
	}
	defer close(k.done)
	if abandoned && k.cmd == m.Cmd {
		return nil // reply and descriptors are of no use to anybody
	}
	switch {
	case k.cmd != m.Cmd:
		k.err = fmt.Errorf("%w: answer to %s is one to %s", ErrProtocol, k.cmd, m.Cmd)
	case m.Flags&flagError != 0:
		k.err = &Refusal{k.cmd, Errno(m.Errno)}
		return nil
	case len(m.body) > len(k.reply):
		k.err = fmt.Errorf("%w: answer to %s of %d bytes, at most %d", ErrProtocol, k.cmd, len(m.body), len(k.reply))
	default:
		k.n = copy(k.reply, m.body)
		k.fds = m.takeFDs()
	}
	return k.err
}
