"""Makes a Postman collection of the served description, imports it, and runs its requests.

docs/postman_collection.json is that collection: a run with CLIENTS_WRITE=1 writes it, any other compares it. The library
python-postman reads, validates and runs it.
"""
import asyncio
import json
import os
import sys
import urllib.request

from scene import password, sign_in

HERE = os.path.dirname(os.path.abspath(__file__))
FILE = os.path.join(HERE, "..", "..", "docs", "postman_collection.json")
SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"

# Keeps the token of the sign-in for the other requests.
KEEP_TOKEN = ['pm.collectionVariables.set("token", pm.response.json().access_token);']


class Description:
    def __init__(self, document):
        self.document = document

    def resolved(self, part):
        while "$ref" in part:
            target = self.document
            for name in part["$ref"].split("/")[1:]:
                target = target[name]
            part = target
        return part

    def collection(self):
        info = self.document["info"]
        folders = [{"name": tag["name"], "description": tag["description"], "item": self.requests(tag["name"])} for tag in self.document["tags"]]
        return {
            "info": {"name": info["title"], "description": info["description"], "schema": SCHEMA},
            "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
            "variable": [
                {"key": name, "value": value, "type": "string"}
                for name, value in [("baseUrl", "http://127.0.0.1:8000"), ("email", ""), ("password", ""), ("token", "")]],
            "item": [folder for folder in folders if folder["item"]]}

    def requests(self, tag):
        return [
            self.request(path, method, operation)
            for path, item in self.document["paths"].items() for method, operation in item.items() if operation["tags"][0] == tag]

    def request(self, path, method, operation):
        parameters = [self.resolved(parameter) for parameter in operation.get("parameters", [])]
        segments = [f":{part[1:-1]}" if part.startswith("{") else part for part in path.split("/")[1:]]
        query = [
            {"key": p["name"], "value": "", "description": p.get("description", ""), "disabled": True}
            for p in parameters if p["in"] == "query"]
        url = {"raw": "{{baseUrl}}/" + "/".join(segments), "host": ["{{baseUrl}}"], "path": segments}
        if query:
            url["query"] = query
        variables = [{"key": p["name"], "value": "", "description": p.get("description", "")} for p in parameters if p["in"] == "path"]
        if variables:
            url["variable"] = variables
        headers = [
            {"key": p["name"], "value": str(self.resolved(p["schema"]).get("default", "")), "description": p.get("description", ""),
             "disabled": not p.get("required", False)} for p in parameters if p["in"] == "header"]
        request = {"method": method.upper(), "header": headers, "url": url, "description": operation.get("description", operation["summary"])}
        request.update(self.body(operation))
        if not operation["security"]:
            request["auth"] = {"type": "noauth"}
        item = {"name": operation["summary"], "request": request, "response": []}
        if operation["operationId"] == "signIn":
            request["body"]["raw"] = '{"email": "{{email}}", "password": "{{password}}"}'
            item["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": KEEP_TOKEN}}]
        return item

    def body(self, operation):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            schema = self.resolved(content["schema"])
            if kind == "multipart/form-data":
                fields = [
                    {"key": name, "type": "file" if field.get("format") == "binary" else "text", **({"src": ""} if field.get("format") == "binary" else {"value": ""}),
                     "disabled": name not in [*schema["required"], "file"]} for name, field in schema["properties"].items()]
                return {"body": {"mode": "formdata", "formdata": fields}}
            if kind == "application/json":
                examples = content.get("examples", {}).values()
                example = content.get("example", next((e["value"] for e in examples), {}))
                return {"body": {"mode": "raw", "raw": json.dumps(example, indent=2, ensure_ascii=False), "options": {"raw": {"language": "json"}}}}
            return {"body": {"mode": "file", "file": {"src": ""}}}
        return {}


def text(collection):
    return json.dumps(collection, indent=2, ensure_ascii=False) + "\n"


def without_scripts(part):
    if isinstance(part, dict):
        return {name: without_scripts(value) for name, value in part.items() if name != "event"}
    return [without_scripts(value) for value in part] if isinstance(part, list) else part


def check(collection):
    """Reads the collection as an importer does, and returns it with the names of its requests."""
    from python_postman import PythonPostman

    # The library knows no variables of the collection in scripts: the run sets the token itself.
    imported = PythonPostman.from_dict(without_scripts(collection))
    result = imported.validate()
    assert result.is_valid, result.errors
    names = [f"{request.method} {request.url.raw}" for request in imported.get_requests()]
    assert len(names) == len(set(names)), "a request stands twice"
    return imported, names


async def run(imported, url):
    """Runs the sign-in, then every request that needs nothing but a token."""
    from python_postman import ExecutionContext, RequestExecutor

    context = ExecutionContext(collection_variables={
        "baseUrl": url, "email": "admin@demo.test", "password": password(), "token": sign_in(url, "admin")})
    count = 0
    async with RequestExecutor() as executor:
        for request in imported.get_requests():
            raw = request.url.raw
            is_read = str(request.method).split(".")[-1] == "GET" and ":" not in raw.removeprefix("{{baseUrl}}") and not raw.endswith(("/stream", "/ws"))
            if not is_read and not raw.endswith("/login"):
                continue
            result = await executor.execute_request(request, context)
            assert result.error is None and result.response.status_code == 200, (raw, result.error, result.response and result.response.status_code)
            count += 1
    assert count >= 10, count
    return count


def main():
    url = os.environ["TB_URL"]
    with urllib.request.urlopen(url + "/openapi.json") as answer:
        document = json.load(answer)
    collection = Description(document).collection()
    operations = sum(len(item) for item in document["paths"].values())
    imported, names = check(collection)
    assert len(names) == operations, (len(names), operations)
    count = asyncio.run(run(imported, url))
    if os.environ.get("CLIENTS_WRITE"):
        with open(FILE, "w") as file:
            file.write(text(collection))
    else:
        with open(FILE) as file:
            if file.read() != text(collection):
                sys.exit("docs/postman_collection.json is not that of the description. Write it by CLIENTS_WRITE=1.")
    print(f"  {len(names)} requests imported, {count} run")


main()
