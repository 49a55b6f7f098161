// Package control is the local protocol of init: a unix stream socket on
// which machined asks for services, logs and shutdown, and says that it is
// alive. A request is one line of JSON, answered by one line of JSON; a
// connection may carry several, one after the other. Only uid 0 is answered
// (SO_PEERCRED).
package control
