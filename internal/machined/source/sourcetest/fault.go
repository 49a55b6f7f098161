package sourcetest

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/cyvive/cyvive/internal/machined/config"
)

// Fault is a way in which a server fails.
type Fault string

// The faults.
const (
	// Down refuses connections.
	Down Fault = "down"
	// Reset breaks connections off.
	Reset Fault = "reset"
	// Silent takes a request and gives no answer.
	Silent Fault = "silent"
	// TooMany is 429 with a Retry-After of a minute, Unavailable 503 without one, and Broken 500.
	TooMany     Fault = "429"
	Unavailable Fault = "503"
	Broken      Fault = "500"
	// Forbidden is 403, and Nonsense a status that there is not.
	Forbidden Fault = "403"
	Nonsense  Fault = "799"
	// CutOff ends the answer before its end, and Unframed does not say where its end is.
	CutOff   Fault = "cut off"
	Unframed Fault = "unframed"
	// Huge announces more than a configuration may have, and Endless sends more without a word.
	Huge    Fault = "huge"
	Endless Fault = "endless"
	// Redirect sends clients elsewhere.
	Redirect Fault = "redirect"
	// Portal answers every request with a web page, as that of a hotel does.
	Portal Fault = "portal"
	// OtherProtocol is a server that speaks no HTTP.
	OtherProtocol Fault = "other protocol"
)

// retryAfterSeconds is what TooMany asks for; it is longer than the longest pause of a client.
const retryAfterSeconds = 60

const page = "<!DOCTYPE html>\n<html><body>Please log in</body></html>\n"

// answer fails.
func (f Fault) answer(w http.ResponseWriter, r *http.Request) {
	switch f {
	case Silent:
		<-r.Context().Done()
	case TooMany:
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
		http.Error(w, "slow down", http.StatusTooManyRequests)
	case Unavailable, Broken, Forbidden, Nonsense:
		status, _ := strconv.Atoi(string(f)) // the fault's name is its status
		http.Error(w, "no", status)
	case Huge:
		w.Header().Set("Content-Length", strconv.Itoa(2*config.MaxBytes))
		w.WriteHeader(http.StatusOK)
	case Endless:
		for line := bytes.Repeat([]byte("#"), 64<<10); r.Context().Err() == nil; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	case Redirect:
		http.Redirect(w, r, "http://192.0.2.1/elsewhere", http.StatusFound)
	case Portal:
		w.Header().Set("Content-Length", strconv.Itoa(len(page)))
		fmt.Fprint(w, page)
	case Reset, CutOff, Unframed, OtherProtocol:
		f.hijack(w)
	}
}

// hijack fails below HTTP.
func (f Fault) hijack(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err) // a test's server gives every connection away
	}
	defer conn.Close()
	switch f {
	case Reset:
		if secure, ok := conn.(*tls.Conn); ok {
			conn = secure.NetConn()
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // makes the close a reset
		conn.Close()
	case CutOff:
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nMetadata-Flavor: Google\r\n\r\napiVersion: ")
	case Unframed:
		fmt.Fprint(conn, "HTTP/1.0 200 OK\r\nMetadata-Flavor: Google\r\n\r\napiVersion: cyvive.dev/v1alpha1\n")
	case OtherProtocol:
		fmt.Fprint(conn, "SSH-2.0-OpenSSH_9.9\r\n")
	}
}
