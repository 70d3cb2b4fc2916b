package proof

import (
	"fmt"
	"strings"
)

// An ambiguous request is one that servers have been known to understand in different ways. TARGET in its text stands
// for a target of its own, SMUGGLED for a second request that somebody might find in it.
type ambiguous struct {
	name string
	text string
	// passes is how many requests reach the upstream, in whole. Those that are refused have 0, and those that break off
	// have cut: a part of them may get there.
	passes int
}

const cut = -1

const (
	smuggled = "GET /smuggled HTTP/1.1\r\nHost: proof\r\n\r\n"
	getHead  = "GET TARGET HTTP/1.1\r\nHost: proof\r\n"
	postHead = "POST TARGET HTTP/1.1\r\nHost: proof\r\n"
	chunkedy = postHead + "Transfer-Encoding: chunked\r\n\r\n"
)

// corpus is all of them.
func corpus() (all []ambiguous) {
	for _, part := range [][]ambiguous{
		codings(), lengths(), chunks(), lineEnds(), names(), hosts(), targets(), versions(), methods(), connections(),
		several(),
	} {
		all = append(all, part...)
	}
	return all
}

// list makes ambiguous requests of one kind out of values.
func list(name, format string, passes int, values ...string) (all []ambiguous) {
	for _, value := range values {
		text := strings.ReplaceAll(format, "VALUE", value)
		all = append(all, ambiguous{fmt.Sprintf("%s %.40q", name, value), text, passes})
	}
	return all
}

// codings are about Transfer-Encoding: beside a length, and alone.
func codings() (all []ambiguous) {
	values := []string{
		"chunked", "Chunked", "CHUNKED", "xchunked", "chunkedx",
		"identity", "chunked, identity", "identity, chunked",
		"chunked, chunked", "gzip, chunked", "chunked, gzip", "chunked;q=1", `"chunked"`, "'chunked'", "chun ked",
		"chunked\x0b", "\x0bchunked", "\x0cchunked", "chunked\x00",
		"\x00chunked", "chunked,", ",chunked", "", ",", "cow",
		"chunked\xa0", "chun\xe2\x84\xaaed", "[chunked]",
		"trailers", "chunked\r\n\t", "\r\n chunked", "chunked\rX: y",
		"chunked\nX: y", "deflate", "compress, chunked", "chunked\t, \tchunked",
	}
	body := "4\r\nabcd\r\n0\r\n\r\n"
	both := postHead + "Content-Length: 6\r\nTransfer-Encoding: VALUE\r\n\r\n0\r\n\r\nG" + smuggled
	all = append(all, list("both, coding", both, 0, values...)...)
	alone := postHead + "Transfer-Encoding: VALUE\r\n\r\n" + body + smuggled
	all = append(all, list("coding alone", alone, 0, values[3:]...)...)
	all = append(all, list("coding alone", alone, 2, "chunked", "Chunked", " chunked", "\tchunked", "chunked \t ")...)
	all = append(all, list("coding's line", postHead+"Content-Length: 6\r\nVALUE\r\n\r\n0\r\n\r\nG"+smuggled, 0,
		"Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked",
		"\tTransfer-Encoding: chunked", "Transfer-Encoding\x00: chunked", "\x0bTransfer-Encoding: chunked",
		"X: y\rTransfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked",
		"X: y\r\n Transfer-Encoding: chunked",
		"Transfer-Encoding\r\n: chunked", "tRANSFER-eNCODING: chunked",
		"Transfer-Encoding", "Transfer Encoding: chunked",
		"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
		": chunked", "Transfer-Encod\xc3\xadng: chunked",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "X: y\x00\r\nTransfer-Encoding: chunked",
	)...)
	return append(all,
		ambiguous{"a length first", postHead + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 0},
		ambiguous{"a length last", postHead + "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG", 0},
		ambiguous{"both and equal", postHead + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 0},
		ambiguous{
			"an underscore", postHead + "Content-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, 2,
		},
		ambiguous{"chunked in 1.0", "POST TARGET HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, 0},
		ambiguous{"chunked GET", getHead + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, 2},
	)
}

// lengths are about Content-Length.
func lengths() (all []ambiguous) {
	format := postHead + "Content-Length: VALUE\r\n\r\nabcde" + smuggled
	all = append(all, list("length", format, 0,
		"+5", "-5", "-0", "5 5", "5,6", "5, 6", "0x5", "5.0", "5e0", "5;", "5;a", "5\x00", "\x005", "5a", "a5", "",
		"99999999999999999999", "18446744073709551621",
		"9223372036854775808", "1_0", "5\x0b", "'5'", `"5"`, "\xd9\xa5",
		"0,5", "5,", ",5", "5\r\n 5", "\r\n 5", "5\rX: y", "5\nX: y", "five", "=5", "5\r\nContent-Length: 6",
		"6\r\nContent-Length: 5", "5\r\ncontent-length: 0", "0\r\nCONTENT-LENGTH: 5", "\xff5", "5\x7f",
	)...)
	all = append(all, list("length", format, 2, "5", "5 ", "\t5\t")...)
	all = append(all, list("length's line", postHead+"VALUE\r\n\r\nabcde", 0,
		"Content-Length : 5", "Content-Length\t: 5",
		" Content-Length: 5", "Content-Length\x00: 5", "Content Length: 5",
		"X: y\rContent-Length: 5", "Content-Length", "Content-Length 5", "\x0bContent-Length: 5",
	)...)
	all = append(all,
		ambiguous{"no length", postHead + "\r\n" + smuggled, 2},
		ambiguous{"length 0", postHead + "Content-Length: 0\r\n\r\n" + smuggled, 2},
		ambiguous{"GET with a request in it", getHead + length(smuggled) + smuggled, 1},
		ambiguous{"HEAD with a request in it", strings.Replace(getHead, "GET", "HEAD", 1) + length(smuggled) + smuggled, 1},
		ambiguous{"DELETE with one in it", strings.Replace(getHead, "GET", "DELETE", 1) + length(smuggled) + smuggled, 1},
		ambiguous{"OPTIONS with one in it", strings.Replace(getHead, "GET", "OPTIONS", 1) + length(smuggled) + smuggled, 1},
	)
	return all
}

func length(content string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n", len(content)) }

// chunks are about the framing of chunks.
func chunks() (all []ambiguous) {
	rest := "\r\nabcde\r\n0\r\n\r\n" + smuggled
	all = append(all, list("size", chunkedy+"VALUE"+rest, 0,
		"0x5", "0X5", "+5", "-5", " 5", "5 ", "5\t", "5\x00", "5g", "g5", "", "5_", "0_5", "fffffffffffffffff5",
		"10000000000000005", "8000000000000000", "7ffffffffffffffff", "5\n", "5\r", "5,5", "5\x0b", "5.0", "\r\n5",
		"5;a\nb", "5;a\rb", "5;\x00", "5\r\n ", "'5'",
	)...)
	all = append(all, list("size", chunkedy+"VALUE"+rest, 2,
		"5", "05", "000000000005", "5;a", "5;a=b", `5;a="b"`, "5;a=b;c",
	)...)
	all = append(all, list("after the data", chunkedy+"5\r\nabcdeVALUE0\r\n\r\n"+smuggled, 0,
		"", "\n", "\r", "f\r\n", "\r\r\n", "\n\n", " \r\n",
	)...)
	all = append(all, list("last chunk", chunkedy+"5\r\nabcde\r\nVALUE"+smuggled, 0,
		"0x0\r\n\r\n", "-0\r\n\r\n", "0\n\r\n", "0\r\n\n", "0\n\n",
		"0\r\r\n", "0 \r\n\r\n", "0;\n\r\n", "0\x00\r\n\r\n",
	)...)
	all = append(all, list("last chunk", chunkedy+"5\r\nabcde\r\nVALUE"+smuggled, 2,
		"0\r\n\r\n", "00000\r\n\r\n", "0;a=b\r\n\r\n", "0\r\nX: y\r\n\r\n",
	)...)
	all = append(all, list("trailer", chunkedy+"0\r\nVALUE\r\n\r\n"+smuggled, 0,
		"X", "X : y", " X: y", "X: y\r\n z", "X: y\nZ: z", "X: y\rZ: z", ": y", "X\x00: y", "X: \x00",
		"GET /smuggled HTTP/1.1", "X: y\r\n\tz",
	)...)
	return append(all, list("pretending trailer", chunkedy+"0\r\nVALUE\r\n\r\n", 0,
		"Content-Length: 5", "Transfer-Encoding: chunked",
		"Host: other", "Connection: close", "Content-Type: text/html",
	)...)
}
