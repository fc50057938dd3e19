// Report a claim over REST, with nothing but .NET's own library (6 or later).
//
//     dotnet run -- https://HOST_OF_THE_PORTAL CLIENT_ID CLIENT_SECRET claim.json
//
// The same Idempotency-Key may be sent again after a broken connection: the claim is taken once.

using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Threading.Tasks;

static class Report
{
    static readonly HttpClient Client = new() { Timeout = TimeSpan.FromSeconds(30) };

    static async Task Main(string[] given)
    {
        var claim = await File.ReadAllTextAsync(given[3], Encoding.UTF8);
        var token = await Token(given[0], given[1], given[2]);
        Console.WriteLine(await Send(given[0], token, claim));
    }

    // A token for claims; ask again when it has expired.
    static async Task<string> Token(string portal, string id, string secret)
    {
        var grant = new FormUrlEncodedContent(new Dictionary<string, string>
        {
            ["grant_type"] = "client_credentials", ["scope"] = "claims:write",
            ["client_id"] = id, ["client_secret"] = secret,
        });
        using var answer = await Client.PostAsync(portal + "/api/v1/oauth/token", grant);
        return Text(await answer.Content.ReadAsStringAsync(), "access_token");
    }

    // Report one claim; its answer holds decision, reason, amounts and clauses of every line.
    // A refusal is read, too: it is a problem (RFC 9457).
    static async Task<string> Send(string portal, string token, string claim)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, portal + "/api/v1/claims");
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        request.Headers.Add("Idempotency-Key", Text(claim, "claim_no"));
        request.Content = new StringContent(claim, Encoding.UTF8, "application/json");
        using var answer = await Client.SendAsync(request);
        return await answer.Content.ReadAsStringAsync();
    }

    static string Text(string json, string name)
    {
        using var read = JsonDocument.Parse(json);
        return read.RootElement.GetProperty(name).GetString()!;
    }
}
