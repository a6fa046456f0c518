#!/usr/bin/env python3
"""Stands in for an OpenAI-compatible service: checks each request, and answers as the description of the API says.

    openai_server.py

Prints its port, and then a JSON object for each request. Source: openai/openai-openapi, openapi.yaml:
CreateTranscriptionRequest, CreateTranscriptionResponseVerboseJson, CreateChatCompletionRequest and -Response. The name of
the model chooses another answer.
"""
import email.parser
import email.policy
import http.server
import json

KEY = "sk-test-123456"


class Refusal(Exception):
    def __init__(self, status, message, param=None, **headers):
        self.status, self.message, self.param, self.headers = status, message, param, headers


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    busy = 2

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                raise Refusal(401, "Incorrect API key provided")
            answer = {"/v1/audio/transcriptions": self.transcription, "/v1/chat/completions": self.completion}[
                self.path](body)
            self.answer(200, answer)
        except KeyError:
            self.answer(404, {"error": {"message": f"Invalid URL (POST {self.path})", "type": "invalid_request_error"}})
        except Refusal as refusal:
            error = {"message": refusal.message, "type": "invalid_request_error", "param": refusal.param, "code": None}
            self.answer(refusal.status, {"error": error}, refusal.headers)

    def answer(self, status, value, headers={}):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def special(self, model):
        if model == "busy" and Handler.busy > 0:
            Handler.busy -= 1
            raise Refusal(429, "Rate limit reached", Retry_After="0")
        if model == "down":
            raise Refusal(503, "The engine is currently overloaded", Retry_After="0")

    def transcription(self, body):
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        fields, file = {}, None
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            if part.get_filename():
                file = part.get_payload(decode=True)
            else:
                fields[name] = part.get_payload(decode=True).decode()
        print(json.dumps(fields), flush=True)
        self.special(fields["model"])
        if fields["response_format"] != "verbose_json" or not file or len(file) > 25 * 1024 * 1024:
            raise Refusal(400, "Invalid request")
        if fields.get("language", "de") not in ("de", "en"):
            raise Refusal(400, "Language parameter must be specified in ISO-639-1 format.")
        if fields["model"] == "refusing":
            raise Refusal(400, "The audio file could not be decoded or its format is not supported.")
        segment = {"seek": 0, "tokens": [50364], "temperature": 0.0, "avg_logprob": -0.28, "compression_ratio": 1.2,
                   "no_speech_prob": 0.009}
        segments = [{"id": 0, "start": 0.0, "end": 1.25, "text": " Good morning,", **segment},
                    {"id": 1, "start": 1.25, "end": 2.0, "text": " Müller.", **segment}]
        if fields["model"] == "silent":
            segments = []
        if fields["model"] == "timeless":
            return {"text": "Good morning.", "duration": "2.0", "language": "english", "task": "transcribe"}
        return {"task": "transcribe", "language": "english", "duration": 2.0, "segments": segments,
                "text": "".join(each["text"] for each in segments).strip(), "usage": {"type": "duration", "seconds": 2}}

    def completion(self, body):
        request = json.loads(body)
        print(json.dumps(request), flush=True)
        self.special(request["model"])
        if request["model"] == "reasoning" and "temperature" in request:
            raise Refusal(
                400, "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
                "supported.", param="temperature")
        content = '{"summary": "A greeting.", "topics": ["greetings"], "agreements": [], "risks": []}'
        contents = {"fenced": f"```json\n{content}\n```", "talkative": "I am sorry, but I cannot do that."}
        message = {"role": "assistant", "content": contents.get(request["model"], content), "refusal": None}
        return {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1741569952, "model": request["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None,
                         "finish_reason": "length" if request["model"] == "short" else "stop"}],
            "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}}


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
