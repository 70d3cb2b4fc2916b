package proof

import "strings"

// lineEnds are about where a line ends, and what stands between them.
func lineEnds() (all []ambiguous) {
	all = append(all, list("around the head", "VALUE", 0,
		"GET TARGET HTTP/1.1\nHost: proof\n\n", "GET TARGET HTTP/1.1\nHost: proof\r\n\r\n",
		"GET TARGET HTTP/1.1\r\nHost: proof\n\r\n"+smuggled, "GET TARGET HTTP/1.1\r\nHost: proof\r\n\n"+smuggled,
		"GET TARGET HTTP/1.1\rHost: proof\r\r", "GET TARGET HTTP/1.1\r\r\nHost: proof\r\n\r\n",
		"GET TARGET HTTP/1.1\r\nHost: proof\r\r\n\r\n", "GET TARGET HTTP/1.1\n\rHost: proof\n\r\n\r",
		" GET TARGET HTTP/1.1\r\nHost: proof\r\n\r\n", "\tGET TARGET HTTP/1.1\r\nHost: proof\r\n\r\n",
		"\rGET TARGET HTTP/1.1\r\nHost: proof\r\n\r\n", "\x00GET TARGET HTTP/1.1\r\nHost: proof\r\n\r\n",
		"GET TARGET HTTP/1.1\r\n Host: proof\r\n\r\n", "GET TARGET HTTP/1.1\r\n\tX: y\r\nHost: proof\r\n\r\n",
		"GET TARGET HTTP/1.1\r\n \r\nHost: proof\r\n\r\n", "\x85GET TARGET HTTP/1.1\r\nHost: proof\r\n\r\n",
	)...)
	all = append(all, list("within a value", getHead+"X: VALUE\r\n\r\n", 0,
		"a\rb", "a\nb", "a\n\rb", "a\x00b", "\x00", "a\r\n b",
		"a\r\n\tb", "a\r\n \r\n b", "a\x01b", "a\x7fb", "a\x1bb", "\r",
	)...)
	all = append(all, list("within a value", getHead+"X: VALUE\r\n\r\n", 1,
		"", " ", "a\tb", "a\xffb", "a: b", "\xc4\x8d\xc4\x8a",
	)...)
	return append(all, list("before the head", "VALUE", 1, "\r\nGET TARGET HTTP/1.1\r\nHost: proof\r\n\r\n")...)
}

// names are about the names of fields.
func names() (all []ambiguous) {
	all = append(all, list("line", getHead+"VALUE\r\n\r\n", 0,
		"X : y", "X\t: y", "X\x00: y", "X Y: z", ": y", "X",
		"X\x0b: y", "X(: y", "X[]: y", "X\"y\": z", "\xc3\xa9: y",
		"X\r: y", "X;y: z", "X/y: z", "X@y: z", "X=y", "{X}: y", "GET / HTTP/1.1", "\x7f: y",
	)...)
	all = append(all, list("line", getHead+"VALUE\r\n\r\n", 1,
		"X:y", "X:", "X:  y  ", "x_y: z", "X!#$%&'*+-.^_`|~: y", "1: 2",
	)...)
	all = append(all, list("much", getHead+"VALUE\r\n\r\n", 0, strings.Repeat("X: y\r\n", 2000)+"X: y",
		"X: "+strings.Repeat("y", 100_000), strings.Repeat("X", 100_000)+": y")...)
	return all
}

// hosts are about who is asked.
func hosts() (all []ambiguous) {
	all = append(all, list("host", "GET TARGET HTTP/1.1\r\nVALUE\r\n", 0,
		"", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n", "Host: a, b\r\n", "Host: a b\r\n", "Host: a/b\r\n",
		"Host: user@a\r\n", "Host: a?b\r\n", "Host: a#b\r\n",
		"Host: a\x00\r\n", "Host: a:b\r\n", "Host: a:99999\r\n",
		"Host: a\\b\r\n", "Host: http://a\r\n", "Host : a\r\n",
		"Host: a:80:80\r\n", "Host: [::1\r\n", "Host: a\"b\r\n",
		"Host: a<b>\r\n", "Host: a\r\nhost: a\r\n", "Host: \xc3\xa9\r\n", "Host: a;b\r\n b\r\n",
	)...)
	all = append(all, list("host", "GET TARGET HTTP/1.1\r\nVALUE\r\n", 1, "Host: proof:8080\r\n", "Host: [::1]:80\r\n",
		"hOST: proof\r\n", "Host:proof\r\n", "Host: proof.\r\n")...)
	return append(all,
		ambiguous{"another host in the target", "GET http://otherTARGET HTTP/1.1\r\nHost: proof\r\n\r\n", 1},
		ambiguous{"the same host in the target", "GET http://proofTARGET HTTP/1.1\r\nHost: proof\r\n\r\n", 1},
		ambiguous{"a user in the target", "GET http://user@proofTARGET HTTP/1.1\r\nHost: proof\r\n\r\n", 0},
		ambiguous{"no host but in the target", "GET http://proofTARGET HTTP/1.1\r\n\r\n", 0},
		ambiguous{"an empty host in the target", "GET http://TARGET HTTP/1.1\r\nHost: proof\r\n\r\n", 0},
		ambiguous{"two hosts and one in the target", "GET http://aTARGET HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 0},
	)
}

// targets are about the request line.
func targets() (all []ambiguous) {
	all = append(all, list("request line", "VALUE\r\nHost: proof\r\n\r\n", 0,
		"GET  TARGET HTTP/1.1", "GET TARGET  HTTP/1.1",
		"GET\tTARGET\tHTTP/1.1", "GET TARGET HTTP/1.1 ", "GET TARGET a HTTP/1.1",
		"GET TARGET\x00 HTTP/1.1", "GET TARGET\x0b HTTP/1.1",
		"GET TARGET\r HTTP/1.1", "GET TARGET\n HTTP/1.1", "GET",
		"GET TARGET", "GET HTTP/1.1", "GET target HTTP/1.1",
		"GET TARGET#a HTTP/1.1", "GET * HTTP/1.1", "GET ?a HTTP/1.1",
		"GET ftp://proofTARGET HTTP/1.1", "GET proof:80 HTTP/1.1",
		"CONNECT proof:80 HTTP/1.1", "CONNECT TARGET HTTP/1.1",
		"GET TARGET\x7f HTTP/1.1", "GET TARGET\x01 HTTP/1.1",
		"GET TARGET\xa0HTTP/1.1", "GET /../../TARGET HTTP/1.1",
		"GET TARGET\" HTTP/1.1 HTTP/1.1", "POST * HTTP/1.1",
		"GET\x00TARGET HTTP/1.1", "GET /%0 HTTP/1.1", "GET /% HTTP/1.1",
		"GET /"+strings.Repeat("a", 100_000)+" HTTP/1.1",
	)...)
	return append(all, list("request line", "VALUE\r\nHost: proof\r\n\r\n", 1,
		"GET TARGET?a=b?c HTTP/1.1", "GET TARGET//b HTTP/1.1",
		"GET TARGET/%0d%0aX:%20y HTTP/1.1", "GET TARGET;a=b HTTP/1.1",
		"GET TARGET?http://b/ HTTP/1.1", "GET TARGET%23 HTTP/1.1",
		"GET TARGET%20HTTP/1.1 HTTP/1.1", "GET //otherTARGET HTTP/1.1",
	)...)
}

// versions are about the protocol.
func versions() (all []ambiguous) {
	all = append(all, list("version", "GET TARGET VALUE\r\nHost: proof\r\n\r\n", 0,
		"HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/1.10", "HTTP/01.1",
		"HTTP/1.01", "http/1.1", "Http/1.1", "HTTP/1,1", "HTTP/1",
		"HTTP/.1", "HTTP/1.", "HTTP /1.1", "HTTP/ 1.1", "HTTPS/1.1",
		"HTTP/-1.1", "HTTP/1.1a", "HTTP/1.a", "HTTP/11", "HTT/1.1",
		"/1.1", "HTTP/1.1.1", "HTTP/1.\xb9",
	)...)
	all = append(all, list("version", "VALUE", 0,
		"GET TARGET\r\n", "GET TARGET\r\n\r\n", "GET TARGET \r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", "{\"a\": 1}\r\n\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"+getHead+"\r\n",
	)...)
	return append(all,
		ambiguous{"1.2", "GET TARGET HTTP/1.2\r\nHost: proof\r\n\r\n", 1},
		ambiguous{"1.0 and kept", "GET TARGET HTTP/1.0\r\nHost: proof\r\nConnection: keep-alive\r\n\r\n" + smuggled, 2},
		ambiguous{"1.0 and not kept", "GET TARGET HTTP/1.0\r\nHost: proof\r\n\r\n" + smuggled, 1},
		ambiguous{"1.0 without a host", "GET TARGET HTTP/1.0\r\n\r\n", 1},
	)
}

// methods are about the first word.
func methods() (all []ambiguous) {
	all = list("method", "VALUE TARGET HTTP/1.1\r\nHost: proof\r\n\r\n", 1, "get", "PROPFIND", "M-SEARCH", "X")
	return append(all, list("method", "VALUE TARGET HTTP/1.1\r\nHost: proof\r\n\r\n", 0,
		"G ET", "G\x00ET", "(GET)", "GET,", "", "G\xc3\x89T", "GET\t",
		"\"GET\"", "GET/", "TRACE", strings.Repeat("G", 100_000),
		"GET\r\n", "GET:", "[GET]",
	)...)
}

// connections are about what belongs to one connection, and about what comes after another answer.
func connections() (all []ambiguous) {
	body := "Content-Length: 5\r\n\r\nabcde" + smuggled
	all = append(all, list("connection", postHead+"Connection: VALUE\r\n"+body, 2,
		"Content-Length", "content-length, keep-alive", "Host",
		"Transfer-Encoding", "X-Forwarded-For", "Upgrade", "TE, Trailer",
		"keep-alive, keep-alive", "Connection", "Via", "Expect", "Proxy-Status", "", ",",
	)...)
	all = append(all, list("connection", postHead+"Connection: VALUE\r\n"+body, 0, "a b", "keep-alive\x00", "a/b")...)
	all = append(all, list("connection", postHead+"Connection: VALUE\r\n"+body, 1,
		"close", "CLOSE", "close, Content-Length", "keep-alive, close", "\tclose",
	)...)
	all = append(all, list("field", postHead+"VALUE\r\n"+body, 2,
		"Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "TE: trailers, chunked", "Trailer: Content-Length",
		"X-HTTP-Method-Override: DELETE", "X-Original-URL: /smuggled",
		"Content-Encoding: chunked", "Max-Forwards: 0",
		"Upgrade: h2c", "Upgrade: TLS/1.0", "Range: bytes=0-0,0-0,0-0",
		"Via: 1.1 myriad, 1.1 myriad", "HTTP2-Settings: AAMAAABk",
	)...)
	all = append(all, list("expect", postHead+"Expect: VALUE\r\n"+body, 2, "100-continue", "100-CONTINUE")...)
	all = append(all, list("expect", postHead+"Expect: VALUE\r\n"+body, 0, "200-ok", "100-continue, 200-ok", "100")...)
	return append(all,
		ambiguous{"expect without content", getHead + "Expect: 100-continue\r\n\r\n" + smuggled, 2},
		ambiguous{"expect in 1.0", "POST TARGET HTTP/1.0\r\nHost: proof\r\nExpect: 100-continue\r\n" + body, 1},
		ambiguous{
			"h2c", getHead + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" +
				"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1,
		},
		ambiguous{"h2c and a request", getHead + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + smuggled, 2},
		ambiguous{
			"websocket of another version", getHead + "Connection: Upgrade\r\nUpgrade: websocket\r\n" +
				"Sec-WebSocket-Version: 777\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + smuggled, 2,
		},
		ambiguous{"an upgrade with content", postHead + "Connection: Upgrade\r\nUpgrade: websocket\r\n" + body, 2},
		ambiguous{
			"an upgrade in 1.0", "GET TARGET HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + smuggled, 1,
		},
	)
}

// several are requests one behind the other.
func several() []ambiguous {
	get := getHead + "\r\n"
	return []ambiguous{
		{"two", get + get, 2},
		{"ten", strings.Repeat(get, 10), 10},
		{"one and a half", get + "GET /smuggled HTTP/1.1\r\nHost: pr", 1},
		{"one and garbage", get + "\x00\x00\x00\r\n\r\n" + smuggled, 1},
		{"one, an empty line, another", get + "\r\n" + get, 2},
		{"one refused, another", "GET TARGET HTTP/1.1\r\nHost: a b\r\n\r\n" + smuggled, 0},
		{"content and another", postHead + "Content-Length: 1\r\n\r\nx" + get, 2},
		{"more content than said", postHead + "Content-Length: 1\r\n\r\nxyz\r\n" + smuggled, 1},
		{"less content than said", postHead + "Content-Length: 1000\r\n\r\n" + smuggled, cut},
		{"chunks and another", chunkedy + "1\r\nx\r\n0\r\n\r\n" + get, 2},
		{"chunks that end early", chunkedy + "fff\r\n" + smuggled, cut},
	}
}
