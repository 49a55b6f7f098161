package powercut

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func serve(t *testing.T, dir string, d *Disk) *Server {
	t.Helper()
	s, err := Serve(dir, "disk.sock", d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// client speaks the protocol as it is written down, byte by byte.
type client struct {
	*testing.T
	conn net.Conn
}

func dial(t *testing.T, path string) client {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{t, conn}
}

func (c client) send(parts ...any) {
	c.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		if err := binary.Write(&b, binary.BigEndian, p); err != nil {
			c.Fatal(err)
		}
	}
	if _, err := c.conn.Write(b.Bytes()); err != nil {
		c.Fatal(err)
	}
}

func (c client) want(parts ...any) {
	c.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		if err := binary.Write(&b, binary.BigEndian, p); err != nil {
			c.Fatal(err)
		}
	}
	got := make([]byte, b.Len())
	if _, err := io.ReadFull(c.conn, got); err != nil || !bytes.Equal(got, b.Bytes()) {
		c.Fatalf("got  %x, %v\nwant %x", got, err, b.Bytes())
	}
}

func (c client) option(number uint32, data string) {
	c.Helper()
	c.send(uint64(0x49484156454F5054), number, uint32(len(data)), []byte(data))
}

func (c client) optionReply(number, kind uint32, data ...any) {
	c.Helper()
	length := 0
	for _, d := range data {
		length += binary.Size(d)
	}
	c.want(append([]any{uint64(0x3e889045565a9), number, kind, uint32(length)}, data...)...)
}

// hello goes as far as QEMU does, which asks for structured replies first (nbd/client.c, nbd_start_negotiate, QEMU 7.2).
func (c client) hello(sizeBytes uint64) {
	c.Helper()
	c.want(uint64(0x4e42444d41474943), uint64(0x49484156454F5054), uint16(3))
	c.send(uint32(3))
	c.option(8, "")
	c.optionReply(8, 0x80000001)
	c.option(7, "\x00\x00\x00\x04name\x00\x01\x00\x03")
	c.optionReply(7, 3, uint16(0), sizeBytes, uint16(0x6d))
	c.optionReply(7, 3, uint16(3), uint32(512), uint32(4096), uint32(32<<20))
	c.optionReply(7, 1)
}

func (c client) command(flags, kind uint16, handle, at uint64, length uint32, data []byte) {
	c.Helper()
	c.send(uint32(0x25609513), flags, kind, handle, at, length, data)
}

func (c client) reply(handle uint64, code uint32, data []byte) {
	c.Helper()
	c.want(uint32(0x67446698), code, handle, data)
}

// TestBroken: a disk that is broken answers with I/O errors, on the same connection, and has what it had when it is mended.
func TestBroken(t *testing.T) {
	dir := t.TempDir()
	d := newDisk(t, nil, 1<<20, DefaultCacheBytes, 1)
	serve(t, dir, d)
	t.Chdir(dir)
	c := dial(t, "disk.sock")
	c.hello(1 << 20)
	one := bytes.Repeat([]byte{1}, 512)
	c.command(0, 1, 1, 0, 512, one)
	c.reply(1, 0, nil)
	d.Break(true)
	c.command(0, 1, 2, 0, 512, bytes.Repeat([]byte{2}, 512))
	c.reply(2, 5, nil)
	c.command(0, 0, 3, 0, 512, nil)
	c.reply(3, 5, nil)
	c.command(0, 3, 4, 0, 0, nil)
	c.reply(4, 5, nil)
	d.Break(false)
	c.command(0, 0, 5, 0, 512, nil)
	c.reply(5, 0, one)
}

func TestProtocol(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 20))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := newDisk(t, nil, 1<<20, DefaultCacheBytes, 1)
	s := serve(t, dir, d)
	t.Chdir(dir)
	c := dial(t, "disk.sock")
	c.hello(1 << 20)
	one, two := bytes.Repeat([]byte{1}, 1024), bytes.Repeat([]byte{2}, 512)
	c.command(0, 1, 11, 4096, 1024, one)
	c.reply(11, 0, nil)
	c.command(0, 0, 12, 4096-512, 2048, nil)
	c.reply(12, 0, slab(0, 512, 1, 1024, 0, 512))
	c.command(1, 1, 13, 8192, 512, two) // FUA
	c.reply(13, 0, nil)
	c.command(0, 4, 14, 8192, 512, nil) // trim
	c.reply(14, 0, nil)
	d.mu.Lock()
	if len(d.cache.order) > 1 {
		t.Errorf("after FUA the cache has %d blocks, want what was written before at most", len(d.cache.order))
	}
	d.mu.Unlock()
	c.command(0, 3, 15, 0, 0, nil)
	c.reply(15, 0, nil)
	c.command(0, 6, 16, 4096, 512, nil)
	c.reply(16, 0, nil)
	for _, bad := range []struct {
		kind   uint16
		at     uint64
		length uint32
	}{{0, 1 << 20, 512}, {1, 1<<20 - 512, 1024}, {1, 100, 512}, {6, 1 << 63, 512}, {5, 0, 512}} {
		var data []byte
		if bad.kind == 1 {
			data = make([]byte, bad.length)
		}
		c.command(0, bad.kind, 17, bad.at, bad.length, data)
		c.reply(17, 22, nil)
	}
	if _, err := s.Cut(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("after the cut, %d bytes came", n)
	}
	// What was flushed is there for the next machine, and what was not, may be.
	c = dial(t, "disk.sock")
	c.hello(1 << 20)
	c.command(0, 0, 18, 4096+512, 512, nil)
	c.reply(18, 0, one[:512])
	c.command(0, 0, 19, 8192, 512, nil)
	c.reply(19, 0, two)
	c.command(0, 2, 20, 0, 0, nil)
	if n, err := c.conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the client's leave: %d bytes, %v", n, err)
	}
	if got := d.Stats(); got.Flushes != 1 || got.WrittenBytes != 1024+512+512 {
		t.Errorf("stats: %+v", got)
	}
}

// TestOlderHandshake: NBD_OPT_EXPORT_NAME, with and without the zeros behind.
func TestOlderHandshake(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, newDisk(t, nil, 1<<20, DefaultCacheBytes, 1))
	for flags, zeros := range map[uint32]int{3: 0, 1: 124} {
		c := dial(t, filepath.Join(dir, "disk.sock"))
		c.want(uint64(0x4e42444d41474943), uint64(0x49484156454F5054), uint16(3))
		c.send(flags)
		c.option(1, "")
		c.want(uint64(1<<20), uint16(0x6d), make([]byte, zeros))
		c.command(0, 0, 1, 0, 512, nil)
		c.reply(1, 0, make([]byte, 512))
		c.conn.Close()
	}
}

func TestProtocolErrors(t *testing.T) {
	for name, bytes := range map[string]string{
		"flags":          "\xff\xff\xff\xff",
		"option":         "\x00\x00\x00\x03IHAVEOPX\x00\x00\x00\x07\x00\x00\x00\x00",
		"long option":    "\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x07\x7f\x00\x00\x00",
		"request":        "\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x00" + strings.Repeat("x", 28),
		"request's size": "\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x00\x25\x60\x95\x13\x00\x00\x00\x01" + strings.Repeat("\x00", 16) + "\xff\xff\xff\xff",
	} {
		if err := handle(pipe{strings.NewReader(bytes), io.Discard}, newDisk(t, nil, 1<<20, DefaultCacheBytes, 1)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, bytes := range map[string]string{
		"nothing": "", "half a word": "\x00\x00", "abort": "\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x02\x00\x00\x00\x00",
	} {
		if err := handle(pipe{strings.NewReader(bytes), io.Discard}, newDisk(t, nil, 1<<20, DefaultCacheBytes, 1)); err != nil {
			t.Errorf("%s: %v, want none: machines are killed", name, err)
		}
	}
}

type pipe struct {
	io.Reader
	io.Writer
}

// TestUse: the next machine gets the other disk.
func TestUse(t *testing.T) {
	dir := t.TempDir()
	first, second := newDisk(t, nil, 1<<20, DefaultCacheBytes, 1), newDisk(t, nil, 2<<20, DefaultCacheBytes, 1)
	s := serve(t, dir, first)
	c := dial(t, filepath.Join(dir, "disk.sock"))
	c.hello(1 << 20)
	old, err := s.Use(second)
	if err != nil || old != first || s.Disk() != second {
		t.Errorf("got %p, %v", old, err)
	}
	c = dial(t, filepath.Join(dir, "disk.sock"))
	c.hello(2 << 20)
}

// TestQEMU has QEMU's own client use a disk, and end without a flush.
func TestQEMU(t *testing.T) {
	if _, err := exec.LookPath("qemu-io"); err != nil {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatalf("REQUIRE_VM=1 promised QEMU: %v", err)
		}
		t.Skipf("needs qemu-io: %v; make setup installs it", err)
	}
	dir := t.TempDir()
	s := serve(t, dir, newDisk(t, nil, 64<<20, DefaultCacheBytes, 1))
	run := func(commands ...string) (string, error) {
		args := []string{"--image-opts", "-t", "writeback"} // otherwise each write has FUA
		for _, c := range commands {
			args = append(args, "-c", c)
		}
		// As package vm has it, from the folder of the socket.
		cmd := exec.CommandContext(t.Context(), "qemu-io", append(args, "driver=raw,discard=unmap,file.driver=nbd,file.server.type=unix,file.server.path=disk.sock")...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), "verification failed") || strings.Contains(string(out), "rror") {
			t.Fatalf("qemu-io %q: %s", commands, out)
		}
		return string(out), err
	}
	if out, err := run("write -P 0xaa 0 1M", "write -z 256k 64k", "flush", "write -P 0xbb 0 2M", "write -f -P 0xcc 4M 64k", "read -P 0xbb 0 2M", "abort"); err == nil {
		t.Fatalf("qemu-io was to abort: %s", out)
	}
	loss, err := s.Cut()
	if err != nil || loss.CachedBytes == 0 {
		t.Errorf("cut: %+v, %v; want what was not flushed in the cache", loss, err)
	}
	if out, err := run("read -P 0xcc 4M 64k", "discard 8M 64k"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	content := read(t, s.Disk(), 0, 2<<20)
	for at := 0; at < len(content); at += sectorBytes {
		old := byte(0xaa)
		if at >= 256<<10 && at < 320<<10 || at >= 1<<20 {
			old = 0
		}
		if got := content[at]; got != old && got != 0xbb {
			t.Fatalf("byte %d is %#x, want %#x, which was flushed, or 0xbb", at, got, old)
		}
	}
}
