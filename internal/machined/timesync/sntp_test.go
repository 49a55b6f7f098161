package timesync

import (
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"
)

// ntpServer answers each question with what answer makes of it; nil is silence.
func ntpServer(t *testing.T, answer func(question []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if data := answer(buffer[:n]); data != nil {
				_, _ = conn.WriteTo(data, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// ntpTime is a time in the format of RFC 5905 section 6.
func ntpTime(t time.Time) uint64 {
	since := t.Sub(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC))
	return uint64(since/time.Second)<<32 | uint64(since%time.Second)<<32/uint64(time.Second)
}

// packet answers a question (RFC 5905 section 7.3) by a clock that is off, as a server of a stratum, with a leap indicator.
func packet(question []byte, off time.Duration, stratum, leap byte) []byte {
	if len(question) < 48 {
		return nil
	}
	out := make([]byte, 48)
	out[0], out[1], out[2], out[3] = leap<<6|4<<3|4, stratum, 6, 0xec // version 4, mode 4; a precision of 2^-20 s
	binary.BigEndian.PutUint32(out[4:], 1<<6)                         // root delay and dispersion, in 2^-16 s
	binary.BigEndian.PutUint32(out[8:], 1<<6)
	copy(out[12:], "TEST")
	now := ntpTime(time.Now().Add(off))
	binary.BigEndian.PutUint64(out[16:], ntpTime(time.Now().Add(off-time.Minute)))
	copy(out[24:32], question[40:48])
	binary.BigEndian.PutUint64(out[32:], now)
	binary.BigEndian.PutUint64(out[40:], now)
	return out
}

func TestSNTP(t *testing.T) {
	server := ntpServer(t, func(q []byte) []byte { return packet(q, time.Hour, 2, 0) })
	got, err := SNTP(t.Context(), server)
	if err != nil || (got.Offset-time.Hour).Abs() > time.Second || got.Distance <= 0 || got.Distance > time.Second || got.Server != server {
		t.Errorf("got %+v, %v; want an hour", got, err)
	}
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	serve := func(answer func([]byte) []byte) string { return ntpServer(t, answer) }
	for name, test := range map[string]struct{ server, want string }{
		"kiss of death":  {serve(func(q []byte) []byte { return packet(q, 0, 0, 0) }), "it asks to be left alone"},
		"not in time":    {serve(func(q []byte) []byte { return packet(q, 0, 2, 3) }), "it does not know the time itself"},
		"stratum 16":     {serve(func(q []byte) []byte { return packet(q, 0, 16, 0) }), "it does not know the time itself"},
		"silence":        {serve(func([]byte) []byte { return nil }), "no answer"},
		"something else": {serve(func([]byte) []byte { return []byte("SSH-2.0") }), "the answer is no NTP"},
		"nobody":         {nobody.LocalAddr().String(), "connection refused"},
		"no name":        {"nosuch.invalid:123", "the name cannot be looked up"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if _, err := SNTP(ctx, test.server); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
		cancel()
	}
}
