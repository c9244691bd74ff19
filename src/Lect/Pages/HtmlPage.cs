using System.Reflection;
using System.Text.Encodings.Web;
using System.Text.Json.Nodes;

namespace Lect;

/// <summary>Self-contained pages: a template of this assembly with the styles that all share, a title and data.</summary>
internal static class HtmlPage
{
    /// <param name="name">The template, <c>NAME.html</c>.</param>
    /// <param name="title">Of the page.</param>
    /// <param name="data">What its script shows.</param>
    public static string Fill(string name, string title, JsonObject data) => Read(name + ".html")
        .Replace("/*STYLE*/", Read("page.css"), StringComparison.Ordinal)
        // The default encoder leaves no '<' in the text, so that no word of it can end the script.
        .Replace("/*DATA*/", data.ToJsonString(new() { Encoder = JavaScriptEncoder.Default }), StringComparison.Ordinal)
        .Replace("<!--TITLE-->", HtmlEncoder.Default.Encode(title), StringComparison.Ordinal);

    private static string Read(string resource)
    {
        using var reader = new StreamReader(Assembly.GetExecutingAssembly().GetManifestResourceStream("Lect." + resource)!);
        return reader.ReadToEnd().TrimEnd();
    }
}
