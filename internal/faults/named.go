package faults

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ByName answers by the name in a path "/fault/NAME" or in the field Fault; "/bytes/N" with N bytes of Pattern; and
// everything else with a line that holds the method, the target and the length of the body, which has then been read.
func ByName(r *Request) Script {
	path, _, _ := strings.Cut(r.Target, "?")
	name := r.Get("Fault")
	if rest, ok := strings.CutPrefix(path, "/fault/"); ok {
		name = rest
	}
	if name != "" {
		if script := named[name]; script != nil {
			return script
		}
		return Script{ReadBody(), Answer(404, "there is no such fault\n")}
	}
	if rest, ok := strings.CutPrefix(path, "/bytes/"); ok {
		if n, err := strconv.ParseInt(rest, 10, 64); err == nil && n >= 0 {
			head := Send("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.FormatInt(n, 10) + "\r\n\r\n")
			if r.Method == "HEAD" {
				return Script{ReadBody(), head}
			}
			return Script{ReadBody(), head, SendPattern(n)}
		}
	}
	return Script{ReadBody(), func(x *Exchange) error {
		return Answer(200, x.Method+" "+x.Target+" "+strconv.FormatInt(x.BodyBytes, 10)+"\n")(x)
	}}
}

// Names are the faults that ByName knows, in order.
func Names() []string { return slices.Sorted(maps.Keys(named)) }

// Pieces of answers.
const (
	status   = "HTTP/1.1 200 OK\r\n"
	length10 = status + "Content-Length: 10\r\n\r\n"
	chunked  = status + "Transfer-Encoding: chunked\r\n\r\n"
	empty    = status + "Content-Length: 0\r\n\r\n"
)

// named are the faults. What is sent after ReadBody comes when the whole request has been read.
var named = map[string]Script{
	// The connection ends.
	"close-before-reading": {Close()},
	"close-before-answer":  {ReadBody(), Close()},
	"close-in-head":        {ReadBody(), Send("HTTP/1.1 200 OK\r\nContent-Le"), Close()},
	"close-in-body":        {ReadBody(), Send(length10 + "half"), Close()},
	"close-in-chunk":       {ReadBody(), Send(chunked + "a\r\nhalf"), Close()},
	"close-before-last":    {ReadBody(), Send(chunked + "4\r\nhalf\r\n"), Close()},
	"reset-before-reading": {Reset()},
	"reset-before-answer":  {ReadBody(), Reset()},
	"reset-in-head":        {ReadBody(), Send("HTTP/1.1 200 OK\r\nContent-Le"), Wait(1), Reset()},
	"reset-in-body":        {ReadBody(), Send(length10 + "half"), Wait(1), Reset()},
	"reset-in-upload":      {ReadSome(1), Reset()},
	"half-close":           {ReadBody(), Send(length10 + "0123456789"), HalfClose(), Silence()},
	"half-close-first":     {HalfClose(), ReadBody(), Silence()},
	"until-close":          {ReadBody(), Send("HTTP/1.0 200 OK\r\n\r\nto the end"), Close()},
	"until-reset":          {ReadBody(), Send("HTTP/1.0 200 OK\r\n\r\nnot to the"), Wait(1), Reset()},
	"close-said":           {ReadBody(), Answer(200, "said", "Connection: close"), Close()},
	"close-unsaid":         {ReadBody(), Answer(200, "unsaid"), Close()},
	"keep-alive-lie":       {ReadBody(), Answer(200, "lie", "Keep-Alive: timeout=3600, max=1000"), Wait(1), Close()},

	// Time passes.
	"silent":       {Silence()},
	"deaf":         {Deaf()},
	"silent-head":  {ReadBody(), Send("HTTP/1.1 200 OK\r\nContent-Le"), Silence()},
	"silent-body":  {ReadBody(), Send(length10 + "half"), Silence()},
	"trickle-head": {ReadBody(), Trickle("HTTP/1.1 200 OK\r\n"), Send("Content-Length: 10\r\n\r\n0123456789")},
	"trickle-body": {ReadBody(), Send(length10), Trickle("0123456789")},

	// The order is another.
	"early":       {Answer(200, "early"), ReadBody()},
	"early-close": {Answer(413, "too much", "Connection: close"), Close()},
	"early-deaf":  {Answer(413, "too much", "Connection: close"), Deaf()},

	// More answers than requests.
	"interim":           {ReadBody(), Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + empty)},
	"interim-storm":     {ReadBody(), Send(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 5000) + empty)},
	"continue-unasked":  {ReadBody(), Send("HTTP/1.1 100 Continue\r\n\r\n" + empty)},
	"switch-unasked":    {ReadBody(), Send("HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")},
	"second-answer":     {ReadBody(), Send(empty + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")},
	"body-too-long":     {ReadBody(), Send(length10 + "0123456789and more")},
	"answer-before-all": {Send(empty), Wait(1), ReadBody()},

	// Heads that are none.
	"head-garbage":        {ReadBody(), Send("what is this?\r\n\r\n"), Silence()},
	"head-binary":         {ReadBody(), Send("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), Silence()},
	"head-version":        {ReadBody(), Send("HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n"), Silence()},
	"head-status":         {ReadBody(), Send("HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"), Silence()},
	"head-status-large":   {ReadBody(), Send("HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"), Silence()},
	"head-no-colon":       {ReadBody(), Send(status + "Content-Length 0\r\n\r\n"), Silence()},
	"head-space-colon":    {ReadBody(), Send(status + "Content-Length : 0\r\n\r\n"), Silence()},
	"head-fold":           {ReadBody(), Send(status + "X: a\r\n b\r\nContent-Length: 0\r\n\r\n"), Silence()},
	"head-nul":            {ReadBody(), Send(status + "X: a\x00b\r\nContent-Length: 0\r\n\r\n"), Silence()},
	"head-cr":             {ReadBody(), Send(status + "X: a\rb\r\nContent-Length: 0\r\n\r\n"), Silence()},
	"head-huge":           {ReadBody(), Send(status + "X: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"), Silence()},
	"head-many":           {ReadBody(), Send(status + strings.Repeat("X: a\r\n", 5000) + "\r\n"), Silence()},
	"head-without-end":    {ReadBody(), Send(status), Silence()},
	"length-twice":        {ReadBody(), Send(status + "Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"), Silence()},
	"length-list":         {ReadBody(), Send(status + "Content-Length: 3, 5\r\n\r\nabcde"), Silence()},
	"length-negative":     {ReadBody(), Send(status + "Content-Length: -1\r\n\r\n"), Silence()},
	"length-huge":         {ReadBody(), Send(status + "Content-Length: 99999999999999999999\r\n\r\n"), Silence()},
	"length-hexadecimal":  {ReadBody(), Send(status + "Content-Length: 0x5\r\n\r\nabcde"), Silence()},
	"coding-unknown":      {ReadBody(), Send(status + "Transfer-Encoding: rot13\r\n\r\nabcde"), Silence()},
	"coding-not-last":     {ReadBody(), Send(status + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), Silence()},
	"chunk-size":          {ReadBody(), Send(chunked + "xyz\r\nabc\r\n0\r\n\r\n"), Silence()},
	"chunk-size-negative": {ReadBody(), Send(chunked + "-1\r\nabc\r\n0\r\n\r\n"), Silence()},
	"chunk-size-huge":     {ReadBody(), Send(chunked + "ffffffffffffffffff\r\nabc"), Silence()},
	"chunk-too-long":      {ReadBody(), Send(chunked + "3\r\nabcde\r\n0\r\n\r\n"), Silence()},
	"chunk-extension":     {ReadBody(), Send(chunked + "3;" + strings.Repeat("a", 1<<20) + "\r\nabc\r\n"), Silence()},
	"trailer-huge":        {ReadBody(), Send(chunked + "0\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"), Silence()},
}
