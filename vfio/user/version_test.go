package user_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/vfio/user"
)

// What QEMU 11.1 sends, but for the order.
const qemuCaps = `{"capabilities":{"migration":{"pgsize":4096,"max_bitmap_size":268435456},"pgsizes":4096,` +
	`"max_msg_fds":16,"max_data_xfer_size":1048576,"max_dma_maps":65535,"write_multiple":true}}` + "\x00"

// agreed is what a reply's JSON says.
type agreed struct {
	Capabilities struct {
		Fds   int    `json:"max_msg_fds"`
		Xfer  int    `json:"max_data_xfer_size"`
		Maps  int    `json:"max_dma_maps"`
		Pages uint64 `json:"pgsizes"`
		Multi bool   `json:"write_multiple"`
	} `json:"capabilities"`
}

// roomy has the reply's limits fit into the request.
func roomy(caps string) string {
	return `{"capabilities":{` + caps + `},"pad":"` + strings.Repeat("x", 200) + `"}` + "\x00"
}

func TestVersion(t *testing.T) {
	nest := func(n int) string {
		return `{"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}\x00"
	}
	const full = `{"max_msg_fds":32,"max_data_xfer_size":1048576,"max_dma_maps":65535,"pgsizes":4096}`
	for _, c := range []struct {
		name  string
		body  []byte
		errno user.Errno // else: these
		minor uint16
		caps  string // as JSON; "": the reply has none
	}{
		{name: "QEMU's", body: version(0, 0, qemuCaps), caps: `{"max_msg_fds":16,"max_data_xfer_size":1048576,"max_dma_maps":65535,"pgsizes":4096,"write_multiple":true}`},
		{name: "no data", body: version(0, 1, ""), minor: 1},
		{name: "no data, minor 0", body: version(0, 0, "")},
		{name: "NUL", body: version(0, 1, "\x00"), minor: 1},
		{name: "an empty object", body: version(0, 1, "{}\x00"), minor: 1},
		{name: "null", body: version(0, 1, "null\x00"), minor: 1},
		{name: "capabilities, but short", body: version(0, 1, `{"capabilities":{"max_msg_fds":8}}`+"\x00"), minor: 1},
		{name: "capabilities null", body: version(0, 1, `{"capabilities":null}`+"\x00"), minor: 1},
		{name: "minor 7", body: version(0, 7, ""), minor: 1},
		{name: "the last minor", body: version(0, 0xFFFF, qemuCaps), minor: 1, caps: `{"max_msg_fds":16,"max_data_xfer_size":1048576,"max_dma_maps":65535,"pgsizes":4096,"write_multiple":true}`},
		{name: "major 1", body: version(1, 0, qemuCaps), errno: eNOTSUP},
		{name: "the last major", body: version(0xFFFF, 1, ""), errno: eNOTSUP},
		{name: "nothing", errno: eINVAL},
		{name: "half a version", body: []byte{0, 0, 1}, errno: eINVAL},

		{name: "defaults", body: version(0, 1, roomy(``)), minor: 1, caps: `{"max_msg_fds":1,"max_data_xfer_size":1048576,"max_dma_maps":65535,"pgsizes":4096}`},
		{name: "large limits", body: version(0, 1, roomy(`"max_msg_fds":1000000000000,"max_data_xfer_size":9223372036854775807,"max_dma_maps":9999999`)), minor: 1, caps: full},
		{name: "small limits", body: version(0, 1, roomy(`"max_msg_fds":0,"max_data_xfer_size":8,"max_dma_maps":1`)), minor: 1, caps: `{"max_msg_fds":0,"max_data_xfer_size":8,"max_dma_maps":1,"pgsizes":4096}`},
		{name: "more page sizes", body: version(0, 1, roomy(`"max_msg_fds":99,"pgsizes":2101248`)), minor: 1, caps: full},
		{name: "unknown capabilities", body: version(0, 1, roomy(`"max_msg_fds":32,"twin_socket":{"supported":true,"fd_index":0},"x":[1,{"y":null}]`)), minor: 1, caps: full},
		{name: "brackets in a string", body: version(0, 1, roomy(`"max_msg_fds":32,"x\"[[[[[[[[[[":"\"{{{{{{{{{{{{{\\"`)), minor: 1, caps: full},

		{name: "eight levels", body: version(0, 1, nest(8)), minor: 1},
		{name: "nine levels", body: version(0, 1, nest(9)), errno: eINVAL},
		{name: "many levels", body: version(0, 1, nest(2000)), errno: eINVAL},
		{name: "levels that do not end", body: version(0, 1, strings.Repeat("[", 4000)+"\x00"), errno: eINVAL},
		{name: "levels below none", body: version(0, 1, strings.Repeat("]", 2000)+strings.Repeat("[", 2000)+"\x00"), errno: eINVAL},
		{name: "as long as may be", body: version(0, 1, `{"x":"`+strings.Repeat("y", 4087)+"\"}\x00"), minor: 1, caps: `{"max_msg_fds":1,"max_data_xfer_size":1048576,"max_dma_maps":65535,"pgsizes":4096}`},
		{name: "longer", body: version(0, 1, `{"x":"`+strings.Repeat("y", 4088)+"\"}\x00"), errno: eINVAL},
		{name: "much longer", body: version(0, 1, strings.Repeat(" ", 1<<20-100)+"\x00"), errno: eINVAL},

		{name: "no NUL", body: version(0, 1, `{}`), errno: eINVAL},
		{name: "another byte for NUL", body: version(0, 1, `{}x`), errno: eINVAL},
		{name: "NUL inside", body: version(0, 1, "{\x00}\x00"), errno: eINVAL},
		{name: "two NULs", body: version(0, 1, "{}\x00\x00"), errno: eINVAL},
		{name: "half an object", body: version(0, 1, "{\x00"), errno: eINVAL},
		{name: "no value", body: version(0, 1, `{"capabilities":`+"\x00"), errno: eINVAL},
		{name: "more behind it", body: version(0, 1, "{} {}\x00"), errno: eINVAL},
		{name: "no JSON", body: version(0, 1, "max_msg_fds=8\x00"), errno: eINVAL},
		{name: "bytes", body: version(0, 1, "\xFF\xFE\x80\x00"), errno: eINVAL},
		{name: "a list", body: version(0, 1, "[]\x00"), errno: eINVAL},
		{name: "a string that does not end", body: version(0, 1, `{"x":"\`+"\x00"), errno: eINVAL},
		{name: "a list of capabilities", body: version(0, 1, `{"capabilities":[]}`+"\x00"), errno: eINVAL},
		{name: "a number of capabilities", body: version(0, 1, `{"capabilities":8}`+"\x00"), errno: eINVAL},

		{name: "fewer than no descriptors", body: version(0, 1, roomy(`"max_msg_fds":-1`)), errno: eINVAL},
		{name: "a string of descriptors", body: version(0, 1, roomy(`"max_msg_fds":"8"`)), errno: eINVAL},
		{name: "a descriptor and a half", body: version(0, 1, roomy(`"max_msg_fds":1.5`)), errno: eINVAL},
		{name: "more than there are numbers", body: version(0, 1, roomy(`"max_msg_fds":9223372036854775808`)), errno: eINVAL},
		{name: "no transfers", body: version(0, 1, roomy(`"max_data_xfer_size":0`)), errno: eINVAL},
		{name: "negative transfers", body: version(0, 1, roomy(`"max_data_xfer_size":-4096`)), errno: eINVAL},
		{name: "no mappings", body: version(0, 1, roomy(`"max_dma_maps":0`)), errno: eINVAL},
		{name: "negative mappings", body: version(0, 1, roomy(`"max_dma_maps":-9223372036854775808`)), errno: eINVAL},
		{name: "no pages", body: version(0, 1, roomy(`"pgsizes":0`)), errno: eINVAL},
		{name: "large pages only", body: version(0, 1, roomy(`"pgsizes":65536`)), errno: eINVAL},
		{name: "negative pages", body: version(0, 1, roomy(`"pgsizes":-4096`)), errno: eINVAL},
		{name: "yes", body: version(0, 1, roomy(`"write_multiple":"yes"`)), errno: eINVAL},
	} {
		s := user.NewServer(newProbe(), user.ServerOptions{})
		r := connect(t, s)
		errno, b := r.ask(user.CmdVersion, c.body)
		if errno != c.errno {
			t.Errorf("%s: %v, not %v", c.name, errno, c.errno)
		}
		if len(b) > len(c.body) {
			t.Errorf("%s: an answer of %d bytes to %d", c.name, len(b), len(c.body))
		}
		if errno != 0 {
			if m, err := r.reply(); err != io.EOF {
				t.Errorf("%s: the connection stays: %+v, %v", c.name, m, err)
			}
			if r.close(); r.err == nil {
				t.Errorf("%s: served without an error", c.name)
			}
			continue
		}
		if len(b) < 4 || le.Uint16(b) != 0 || le.Uint16(b[2:]) != c.minor {
			t.Errorf("%s: is answered % x", c.name, b[:min(len(b), 8)])
			continue
		}
		if data := b[4:]; c.caps == "" {
			if len(data) > 1 || len(data) == 1 && data[0] != 0 {
				t.Errorf("%s: is answered %q", c.name, data)
			}
		} else {
			var got, want agreed
			text, ok := strings.CutSuffix(string(data), "\x00")
			if err := json.Unmarshal([]byte(text), &got); err != nil || !ok {
				t.Errorf("%s: is answered %q: %v", c.name, data, err)
			}
			if err := json.Unmarshal([]byte(`{"capabilities":`+c.caps+`}`), &want); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%s: agreed on %+v, not %+v", c.name, got, want)
			}
		}
		r.alive()
		if r.close(); r.err != nil {
			t.Errorf("%s: %v", c.name, r.err)
		}
	}
}

// VERSION in unusual company.
func TestVersionMessage(t *testing.T) {
	s, before := user.NewServer(newProbe(), user.ServerOptions{}), baseline(t)
	closed := func(r *raw, what string, want user.Errno) {
		t.Helper()
		if m, err := r.reply(); err != nil || m.errno != want {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
		if m, err := r.reply(); err != io.EOF {
			t.Errorf("%s: the connection stays: %+v, %v", what, m, err)
		}
		r.close()
	}
	fds := makeFDs(t, "emp")
	for n := 1; n <= len(fds); n++ {
		r := connect(t, s)
		r.send(packet(1, user.CmdVersion, 0, 0, version(0, 1, "")), fds[:n]...)
		closed(r, "descriptors", eINVAL)
	}
	closeFDs(fds...)

	r := connect(t, s)
	r.send(packet(1, user.CmdVersion, isReply, 0, version(0, 1, "")))
	closed(r, "an answer to nothing", eINVAL)

	r = connect(t, s) // a refusal is told even to who wants no answer
	r.send(packet(1, user.CmdVersion, noReply, 0, version(1, 0, "")))
	closed(r, "major 1, no answer", eNOTSUP)

	r = connect(t, s)
	r.send(packet(1, user.CmdVersion, noReply, 0, version(0, 1, "")))
	r.alive()
	r.close()

	r = connect(t, s) // with the next message at once
	b := append(packet(1, user.CmdVersion, 0, 0, version(0, 1, "")), packet(2, user.CmdGetInfo, 0, 0, words(16, 0, 0, 0))...)
	r.send(b)
	for _, size := range []int{4, 16} {
		if m, err := r.reply(); err != nil || m.errno != 0 || len(m.body) != size {
			t.Errorf("%+v, %v", m, err)
		}
	}
	r.close()
	settles(t, "descriptors", openFDs, before)
}
